"""Patches that remind of others: by hand in the plane, and against brute force."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from splatseg_ns.masks import memory_bank
from splatseg_ns.masks.examples import Example
from splatseg_ns.masks.features import unit_length
from splatseg_ns.masks.memory_bank import Knn, MemoryBank
from splatseg_ns.scene import IGNORED
from tests.raster.scenes import generator

PATCH = 4


class RedFeatures:
    """What the red channel says in the corner of a patch, as a direction: patches of one red are alike, others not."""

    def __init__(self, patch: int = PATCH, channels: int = 8) -> None:
        self.patch, self.channels = patch, channels
        self.name = f"red-{patch}-{channels}"

    def __call__(
        self,
        image: Tensor,  # [H, W, 3] uint8
    ) -> Tensor:  # [h, w, D]
        return torch.eye(self.channels)[image[:: self.patch, :: self.patch, 0].long()]


def example(labels: Tensor, reds: Tensor | None = None, patch: int = PATCH, name: str = "example") -> Example:
    """Of labels [H, W]; each patch is as red as the label in its corner says, if not said otherwise by reds [h, w]."""
    reds = labels[::patch, ::patch] if reds is None else reds
    image = torch.zeros(*labels.shape, 3, dtype=torch.uint8)
    image[..., 0] = reds.clamp_min(0).repeat_interleave(patch, 0).repeat_interleave(patch, 1)
    return Example(name, image, labels.int())


def patches(rows: Sequence[Sequence[int]], patch: int = PATCH) -> Tensor:  # [H, W]
    """Labels that are written patch by patch."""
    return torch.tensor(rows).repeat_interleave(patch, 0).repeat_interleave(patch, 1)


def plane(*angles: float) -> Tensor:  # [P, 2]
    """Unit vectors whose cosines are those of the angles between them."""
    return torch.tensor([[math.cos(angle), math.sin(angle)] for angle in angles])


def bank_of(features: Tensor, classes: Sequence[int], ids: Sequence[int]) -> MemoryBank:
    """A patch of one class each."""
    return MemoryBank(features, (torch.tensor(classes)[:, None] == torch.tensor(ids)).float(), torch.tensor(ids))


def random_bank(count: int, seed: int, channels: int = 6) -> MemoryBank:
    random = generator(seed)
    shares = torch.rand(count, 4, generator=random) ** 3
    features = unit_length(torch.randn(count, channels, generator=random))
    return MemoryBank(features, shares / shares.sum(1, keepdim=True), torch.tensor([0, 2, 5, 9]))


def random_queries(seed: int, height: int = 5, width: int = 7, channels: int = 6) -> Tensor:
    return unit_length(torch.randn(height, width, channels, generator=generator(seed)))


def asked(bank: MemoryBank, query: Tensor, **knn: Any) -> list[float]:
    """What one patch is."""
    return bank.classify(query.view(1, 1, -1), Knn(**knn)).flatten().tolist()


# What is remembered


def test_patches_of_one_class_each():
    bank = MemoryBank.of(RedFeatures(), [example(patches([[0, 3], [7, 3]]))])
    assert bank.ids.tolist() == [0, 3, 7] and bank.classes == [3, 7] and len(bank) == 4
    assert torch.equal(bank.features, torch.eye(8)[[0, 3, 7, 3]])
    assert bank.shares.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0]]
    assert bank.patches() == {0: 1.0, 3: 2.0, 7: 1.0}


def test_a_patch_that_two_classes_share_is_of_both():
    labels = patches([[0, 0]])
    # Of the 16 pixels of the first patch 4 are of class 1 and 2 of class 2; of the second 8 of class 2.
    labels[0, :4], labels[1, :2], labels[2:, 4:] = 1, 2, 2
    bank = MemoryBank.of(RedFeatures(), [example(labels)])
    expected = torch.tensor([[10 / 16, 4 / 16, 2 / 16], [8 / 16, 0, 8 / 16]])
    assert torch.allclose(bank.shares, expected, atol=1e-6)
    assert bank.patches() == pytest.approx({0: 18 / 16, 1: 4 / 16, 2: 10 / 16})


def test_ignored_pixels_say_nothing_and_leave_their_patches_out():
    labels = patches([[1, 1, 2, 0]])
    # The first patch has 8 of 16 pixels left, 2 of them of class 2; the second 7, too few.
    labels[:2, :4], labels[2, :2] = IGNORED, 2
    labels[:2, 4:8], labels[2, 4] = IGNORED, IGNORED
    bank = MemoryBank.of(RedFeatures(), [example(labels, torch.tensor([[5, 6, 2, 0]]))])
    assert torch.equal(bank.features, torch.eye(8)[[5, 2, 0]])
    assert torch.allclose(bank.shares, torch.tensor([[0, 6 / 8, 2 / 8], [0, 0, 1], [1, 0, 0]]), atol=1e-6)


def test_examples_of_which_nothing_is_annotated_enough_are_an_error():
    labels = patches([[1, 1]])
    labels[:3] = IGNORED
    with pytest.raises(ValueError, match="no patch of the examples is mostly annotated"):
        MemoryBank.of(RedFeatures(), [example(labels)])


def test_a_class_that_only_left_out_patches_show_is_none_and_has_no_say():
    labels = patches([[1, 2]])
    labels[:, :4] = IGNORED
    labels[0, :4] = 1
    bank = MemoryBank.of(RedFeatures(), [example(labels, torch.tensor([[1, 2]]))])
    assert bank.patches()[1] == 0.0 and len(bank) == 1
    found = bank.classify(torch.eye(8)[torch.tensor([[1, 2]])], Knn(least_similarity=-1.0, balance=1.0))
    assert found.isfinite().all() and found[..., bank.ids.tolist().index(2)].flatten().tolist() == [1.0, 1.0]


def test_pictures_of_other_sizes_and_classes_come_together():
    said: list[int] = []
    first, second = example(patches([[1, 0], [1, 0]])), example(patches([[4, 4, 0]]), name="second")
    bank = MemoryBank.of(RedFeatures(), [first, second], said.append)
    assert bank.ids.tolist() == [0, 1, 4] and said == [1, 2]
    assert bank.patches() == {0: 3.0, 1: 2.0, 4: 2.0}
    assert torch.equal(bank.features, torch.eye(8)[[1, 0, 1, 0, 4, 4, 0]])


def test_sides_need_not_be_a_multiple_of_a_patch():
    """Five columns on a grid of two: each patch has three of them, the middle one is in both."""
    labels = torch.tensor([[0, 0, 6, 6, 6]] * 4)
    image = torch.zeros(4, 5, 3, dtype=torch.uint8)
    bank = MemoryBank.of(RedFeatures(), [Example("odd", image, labels)])
    assert torch.allclose(bank.shares, torch.tensor([[2 / 3, 1 / 3], [0, 1]]), atol=1e-6)


def test_examples_are_read_one_at_a_time():
    def read():
        for number in (1, 2):
            yield example(patches([[number]]))
            assert said == list(range(1, number + 1))

    said: list[int] = []
    assert len(MemoryBank.of(RedFeatures(), read(), said.append)) == 2


@pytest.mark.parametrize("labels", [[], [patches([[0, 0]])], [patches([[IGNORED, IGNORED]])]], ids=["none", "0", "-1"])
def test_examples_that_show_no_class_are_an_error(labels: list[Tensor]):
    with pytest.raises(ValueError, match="the examples show none of their classes; annotate at least one region"):
        MemoryBank.of(RedFeatures(), [example(part) for part in labels])


# Who has a say


def test_neighbours_have_a_say_by_their_similarity():
    """Similarities 1, 0.8, 0.6 and 0; at a temperature of 0.2 their says are as 1 : e^-1 : e^-2 : e^-5."""
    features = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])
    bank = bank_of(features, [1, 2, 1, 0], [0, 1, 2])
    weights = [1.0, math.exp(-1), math.exp(-2), math.exp(-5)]
    query = torch.tensor([1.0, 0.0])
    four = [weights[3], weights[0] + weights[2], weights[1]]
    for neighbours in (4, 5, 1000):
        found = asked(bank, query, neighbours=neighbours, temperature=0.2, balance=0.0)
        assert found == pytest.approx([part / sum(weights) for part in four], abs=1e-6)
    # The two nearest: 1 / (1 + e^-1) for class 1.
    found = asked(bank, query, neighbours=2, temperature=0.2, balance=0.0)
    assert found == pytest.approx([0, 1 / (1 + math.exp(-1)), math.exp(-1) / (1 + math.exp(-1))], abs=1e-6)
    assert asked(bank, query, neighbours=1) == [0.0, 1.0, 0.0]


def test_without_a_temperature_all_neighbours_have_the_same_say():
    bank = bank_of(plane(0.0, 0.3, 0.6, 2.0), [1, 2, 2, 0], [0, 1, 2])
    found = asked(bank, plane(0.0)[0], neighbours=3, temperature=math.inf, balance=0.0)
    assert found == pytest.approx([0, 1 / 3, 2 / 3])
    # Near zero the nearest has all of it.
    assert asked(bank, plane(0.0)[0], neighbours=3, temperature=1e-4, balance=0.0) == pytest.approx([0, 1, 0])


def test_balance_makes_up_for_how_many_patches_a_class_has():
    """Four equally similar patches: three of class 1, one of class 2. Priors are (4 / 3)^b and 4^b.

    b = 0: 3 to 1. b = 1: 3 * 4/3 = 4 to 4. b = 1/2: 3 * 2/sqrt(3) = 2 sqrt(3) to 2, so sqrt(3) to 1.
    """
    bank = bank_of(plane(0.5, 0.5, -0.5, -0.5), [1, 1, 1, 2], [0, 1, 2])
    expected = {0.0: 3 / 4, 1.0: 1 / 2, 0.5: math.sqrt(3) / (math.sqrt(3) + 1)}
    for balance, first in expected.items():
        found = asked(bank, plane(0.0)[0], neighbours=4, balance=balance)
        assert found == pytest.approx([0, first, 1 - first], abs=1e-6), balance


def test_balance_counts_parts_of_patches():
    """Classes have 3/4 + 1/4 = 1 and 1/4 + 3/4 + 1 = 2 patches; both are as similar, so balanced they are 1 to 1."""
    shares = torch.tensor([[0.75, 0.25], [0.25, 0.75], [0.0, 1.0]])
    bank = MemoryBank(plane(0.3, 0.3, -0.3), shares, torch.tensor([1, 2]))
    assert asked(bank, plane(0.0)[0], balance=1.0) == pytest.approx([0.5, 0.5], abs=1e-6)
    assert asked(bank, plane(0.0)[0], balance=0.0) == pytest.approx([1 / 3, 2 / 3], abs=1e-6)


def test_a_class_of_one_patch_is_found_among_many():
    features = torch.cat([plane(*torch.linspace(0.5, 1.5, 200).tolist()), plane(0.0)])
    bank = bank_of(features, [1] * 200 + [2], [0, 1, 2])
    found = asked(bank, plane(0.0)[0])
    assert found[2] > 0.95
    assert asked(bank, plane(1.0)[0])[1] == 1.0
    # Where its neighbours are as near, it has the say of one patch, or with the balance that of its class.
    both = bank_of(torch.cat([plane(*[0.1] * 4), plane(-0.1)]), [1] * 4 + [2], [0, 1, 2])
    assert asked(both, plane(0.0)[0], balance=0.0)[2] == pytest.approx(1 / 5, abs=1e-5)
    assert asked(both, plane(0.0)[0], balance=1.0)[2] == pytest.approx(1 / 2, abs=1e-5)


def test_what_is_not_similar_enough_is_unknown():
    """The nearest patch is 60 degrees away: a similarity of 1/2."""
    bank = bank_of(plane(math.pi / 3, 2.0, 2.5), [1, 2, 0], [0, 1, 2])
    query = plane(0.0)[0]
    assert asked(bank, query, least_similarity=0.501) == [0.0, 0.0, 0.0]
    assert sum(asked(bank, query, least_similarity=0.499)) == pytest.approx(1.0)
    # The opposite of all of them.
    assert asked(bank_of(plane(math.pi), [1], [0, 1]), query) == [0.0, 0.0]
    assert asked(bank_of(plane(math.pi), [1], [0, 1]), query, least_similarity=-1.0) == [0.0, 1.0]


def test_each_patch_is_unknown_or_of_something_by_itself():
    found = random_bank(30, 1).classify(queries := random_queries(2), Knn(least_similarity=0.7))
    nearest = (queries @ random_bank(30, 1).features.T).amax(dim=2)
    assert torch.allclose(found.sum(2), (nearest >= 0.7).float(), atol=1e-6)
    assert 0 < int((nearest >= 0.7).sum()) < nearest.numel()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "knn", [Knn(), Knn(1), Knn(40, 0.3, 1.0), Knn(7, math.inf, 0.0, -1.0), Knn(3, 0.1, 0.25, 0.5)], ids=str
)
def test_it_is_what_brute_force_finds(seed: int, knn: Knn):
    bank, queries = random_bank(25, seed), random_queries(seed + 100)
    found = bank.classify(queries, knn)
    assert found.shape == (5, 7, 4)
    prior = (bank.shares.sum() / bank.shares.sum(0)) ** knn.balance
    for row in range(5):
        for column in range(7):
            similar = sorted(
                ((float(queries[row, column] @ feature), place) for place, feature in enumerate(bank.features)),
                reverse=True,
            )[: knn.neighbours]
            answer = torch.zeros(4)
            for similarity, place in similar:
                answer += math.exp((similarity - similar[0][0]) / knn.temperature) * bank.shares[place] * prior
            answer /= answer.sum()
            expected = answer if similar[0][0] >= knn.least_similarity else torch.zeros(4)
            assert torch.allclose(found[row, column], expected, atol=1e-5)


@pytest.mark.parametrize("at_once", [1, 25, 60, 25 * 34])
def test_how_many_are_compared_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch, at_once: int):
    bank, queries = random_bank(25, 3), random_queries(4)
    whole = bank.classify(queries, Knn())
    sizes: list[int] = []
    original = MemoryBank._of_patches

    def noted(self: MemoryBank, chunk: Tensor, *more: Any) -> Tensor:
        sizes.append(len(chunk))
        return original(self, chunk, *more)

    monkeypatch.setattr(MemoryBank, "_of_patches", noted)
    monkeypatch.setattr(memory_bank, "_AT_ONCE", at_once)
    assert torch.allclose(bank.classify(queries, Knn()), whole, atol=1e-6)
    assert len(sizes) > 1 and sum(sizes) == 35 and max(sizes) <= max(1, at_once // 25)


def test_the_order_of_patches_changes_nothing():
    bank, queries = random_bank(25, 5), random_queries(6)
    order = torch.randperm(25, generator=generator(7))
    moved = MemoryBank(bank.features[order], bank.shares[order], bank.ids)
    assert torch.allclose(moved.classify(queries, Knn()), bank.classify(queries, Knn()), atol=1e-6)
    flipped = bank.classify(queries.flip(0, 1), Knn()).flip(0, 1)
    assert torch.allclose(flipped, bank.classify(queries, Knn()), atol=1e-6)


def test_other_features_than_those_of_the_examples_are_an_error():
    with pytest.raises(ValueError, match="patches of 5 numbers cannot be compared with 6 of them"):
        random_bank(3, 0).classify(random_queries(0, channels=5), Knn())


def test_features_equal_to_labels_give_the_labels():
    labels = patches([[0, 3, 3, 3], [7, 7, 0, 3], [7, 0, 0, 0]])
    bank = MemoryBank.of(RedFeatures(), [example(labels)])
    assert min(bank.patches().values()) < Knn().neighbours
    found = bank.classify(RedFeatures()(example(labels).image), Knn())
    assert torch.equal(bank.ids[found.argmax(dim=2)], labels[::PATCH, ::PATCH])
    alone = bank.classify(RedFeatures()(example(labels).image), Knn(neighbours=1))
    assert torch.equal(alone, (labels[::PATCH, ::PATCH, None] == bank.ids).float())


# Classes alone


def test_without_background_only_patches_of_classes_are_left():
    labels = patches([[0, 1, 2, 0]])
    # Of the last patch 9 of 16 pixels are of class 2, of the first 7.
    labels[:, 12:14], labels[0, 14] = 2, 2
    labels[:, 0], labels[:3, 1] = 2, 2
    bank = MemoryBank.of(RedFeatures(), [example(labels, torch.tensor([[3, 4, 5, 6]]))]).without_background()
    assert torch.equal(bank.features, torch.eye(8)[[4, 5, 6]])
    assert bank.ids.tolist() == [0, 1, 2] and bank.classes == [1, 2]
    # What the last one has of the background is no more.
    assert torch.allclose(bank.shares, torch.tensor([[0, 1.0, 0], [0, 0, 1], [0, 0, 1]]), atol=1e-6)
    found = bank.classify(torch.eye(8)[torch.tensor([[3, 4, 5, 6, 0]])], Knn(least_similarity=0.0))
    assert not bool(found[..., 0].any()) and torch.allclose(found.sum(2), torch.ones(1, 5))
    assert bank.patches() == pytest.approx({0: 0, 1: 1, 2: 2})
    assert torch.equal(bank.without_background().shares, bank.shares)


def test_without_background_nothing_may_be_left():
    labels = patches([[0, 0]])
    labels[0] = 1
    bank = MemoryBank.of(RedFeatures(), [example(labels)])
    with pytest.raises(ValueError, match="no patch of the examples is mostly of a class"):
        bank.without_background()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neighbours": 0}, "at least one neighbour has a say, got neighbours=0"),
        ({"temperature": 0.0}, "temperature is above 0, got 0.0"),
        ({"temperature": math.nan}, "temperature is above 0, got nan"),
        ({"balance": 1.1}, "balance is a number from 0 to 1, got 1.1"),
        ({"balance": -0.1}, "balance is a number from 0 to 1, got -0.1"),
        ({"balance": math.nan}, "balance is a number from 0 to 1, got nan"),
        ({"least_similarity": 1.5}, "least_similarity is a cosine, -1 to 1, got 1.5"),
        ({"least_similarity": math.nan}, "least_similarity is a cosine, -1 to 1, got nan"),
    ],
)
def test_ways_to_compare_that_make_no_sense(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Knn(**options)
