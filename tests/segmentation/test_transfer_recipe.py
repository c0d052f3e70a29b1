"""How a transfer was made, kept in a history and made again."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from splatseg_ns.masks import LabelFolderConfig
from splatseg_ns.masks.efficientnet import efficientnet_lite0
from splatseg_ns.masks.embedding_cache import CACHE_VARIABLE
from splatseg_ns.masks.memory_bank import Knn
from splatseg_ns.segmentation import EditingSession, Segmentation, SegmentationStore
from splatseg_ns.segmentation.transfer import Transfer
from splatseg_ns.segmentation.transfer_recipe import TRANSFER, FeatureConfig, TransferRecipe, recipe_of
from tests.masks.test_labelme import shape, write_labelme
from tests.segmentation.examples import example_document, example_splats

RECIPES = [
    TransferRecipe(Path("/somewhere/pictures")),
    TransferRecipe(
        Path("/somewhere/else"),
        ("knife", "spoon 2"),
        False,
        FeatureConfig("dinov2", "facebook/dinov2-small", scales=(0.5, 1.0, 2.0), flip=True),
        Transfer(Knn(9, 0.2, 1.0, 0.25), "bilinear", "robust", -0.5),
        LabelFolderConfig("objects", 255, "ignore", "category_id"),
    ),
    TransferRecipe(Path("/x"), background=True, transfer=Transfer(voting="labels", upsampling="nearest")),
    TransferRecipe(Path("/x"), transfer=Transfer(Knn(temperature=float("inf"), balance=0.0), "nearest", "labels")),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=["defaults", "nothing by default", "some", "as published"])
def test_a_recipe_comes_back_from_json(recipe: TransferRecipe):
    # As a document keeps it, which takes no infinite numbers.
    assert recipe_of(noted(example_document(example_splats(3)), recipe)) == recipe
    again = TransferRecipe.of_json(json.loads(json.dumps(recipe.as_json())))
    assert again == recipe
    # Tuples are tuples again, so that it can be hashed and compared.
    assert isinstance(again.objects, tuple) and isinstance(again.features.scales, tuple)
    assert isinstance(again.examples, Path)


def test_paths_hold_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    content = TransferRecipe(Path("pictures")).as_json()
    monkeypatch.chdir("/")
    assert TransferRecipe.of_json(content).examples == (tmp_path / "pictures").resolve()


def noted(document: Segmentation, recipe: TransferRecipe) -> Segmentation:
    """As the command does it."""
    return document.with_entry(TRANSFER, **recipe.as_json(), views=["train"])


def test_the_last_recipe_in_a_history_is_found(tmp_path: Path):
    splats = example_splats()
    document = example_document(splats)
    assert recipe_of(document) is None and recipe_of(Segmentation.of(splats)) is None
    assert recipe_of(document, tmp_path) is None
    for recipe in RECIPES:
        document = noted(document, recipe).with_entry("label", solver="flashsplat")
        assert recipe_of(document) == recipe
    session = EditingSession(document, splats)
    session.rename("bear", "teddy")
    assert recipe_of(session.document) == RECIPES[-1]
    store = SegmentationStore(tmp_path)
    store.save(session.document)
    assert recipe_of(store.load(splats)) == RECIPES[-1]


def test_examples_that_were_moved_are_taken_from_there(tmp_path: Path):
    document = noted(example_document(example_splats()), RECIPES[1])
    assert recipe_of(document, tmp_path) == replace(RECIPES[1], examples=tmp_path)


# Read for real


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pictures of a red and a blue field on grey, of two sizes, one annotated by a map and one by labelme."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    folder = tmp_path / "pictures"
    (folder / "labels").mkdir(parents=True)
    (folder / "labels" / "labels.json").write_text('{"3": "red", "5": "blue"}')
    for name, (height, width) in {"a": (64, 96), "b": (96, 64)}.items():
        labels = np.zeros((height, width), np.uint8)
        labels[:, : width // 3], labels[: height // 2, 2 * width // 3 :] = 3, 5
        colors = np.full((6, 3), 128, np.uint8)
        colors[3], colors[5] = (220, 30, 30), (30, 30, 220)
        Image.fromarray(colors[labels]).save(folder / f"{name}.png")
        if name == "a":
            Image.fromarray(labels).save(folder / "labels" / "a.png")
        else:
            write_labelme(
                folder / "b.json",
                shape("red", "rectangle", (0, 0), (width // 3 - 1, height)),
                shape("blue", "rectangle", (2 * width // 3, 0), (width, height // 2 - 1)),
                image="b.png",
            )
    return folder


def test_a_classifier_knows_what_the_examples_show(pictures: Path):
    said: list[tuple[int, int]] = []
    classifier, examples = TransferRecipe(pictures).classifier(progress=lambda done, all: said.append((done, all)))
    assert said == [(1, 2), (2, 2)] and len(examples) == 2
    assert classifier.bank.ids.tolist() == [0, 3, 5] and examples.name(5).name == "blue"
    assert classifier.extractor.name == efficientnet_lite0().name and classifier.config == Transfer()
    # It finds in the examples what they were annotated with.
    for example in examples:
        found = classifier.label_map(classifier.shares(example.image))
        right = (found == example.labels).float()
        assert float(right.mean()) > 0.9, example.name
    assert os.listdir(pictures.parent / "cache")


def test_within_objects_it_knows_classes_alone(pictures: Path):
    for objects, background, has_background in (
        ((), None, True),
        (("knife",), None, False),
        (("knife",), True, True),
        ((), False, False),
    ):
        classifier, _ = TransferRecipe(pictures, objects, background).classifier()
        assert (classifier.bank.patches()[0] > 0) == has_background, (objects, background)


@pytest.mark.parametrize(
    ("features", "suffix"),
    [
        (FeatureConfig(), ""),
        (FeatureConfig(scales=(1.0, 2.0), flip=True), "-scales-1-2-flip"),
        (FeatureConfig(flip=True), "-flip"),
    ],
)
def test_features_are_named_by_all_that_makes_them(features: FeatureConfig, suffix: str):
    assert features.extractor().name == efficientnet_lite0().name + suffix


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (FeatureConfig(checkpoint="weights.pth"), "efficientnet brings its weights; for those of weights.pth choose"),
        (FeatureConfig(scales=()), "averaged over one or more scales above 0"),
        (FeatureConfig(scales=(1.0, 0.0)), "averaged over one or more scales above 0"),
    ],
)
def test_features_that_there_are_not(features: FeatureConfig, message: str):
    with pytest.raises(ValueError, match=message):
        features.extractor()


@pytest.mark.parametrize("field", ["examples", "transfer", "features"])
def test_a_recipe_of_which_something_is_gone_is_no_recipe(field: str):
    content: dict[str, Any] = RECIPES[0].as_json()
    del content[field]
    with pytest.raises(KeyError, match=field):
        TransferRecipe.of_json(content)


def test_a_recipe_from_before_there_were_more_options_is_read():
    content = RECIPES[0].as_json()
    del content["features"]["flip"], content["transfer"]["gamma"], content["format"]["overlap"]
    assert TransferRecipe.of_json(content) == RECIPES[0]
    assert torch.equal(torch.tensor(TransferRecipe.of_json(content).features.scales), torch.tensor([1.0]))
