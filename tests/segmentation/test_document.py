from __future__ import annotations

import hashlib
import pickle
import struct
from dataclasses import replace

import pytest
import torch

from splatseg_ns.segmentation import SceneObject, Segmentation, fingerprint_of
from tests.segmentation.examples import example_document, example_splats, example_votes, state

SPLATS = example_splats()
DOCUMENT = example_document(SPLATS)


def test_a_fresh_document_has_seen_nothing():
    document = Segmentation.of(SPLATS)
    assert document.labels.tolist() == [-1] * len(SPLATS)
    assert (document.ids, document.counts(), document.votes(), document.next_id) == ([], {}, None, 1)


def test_objects_are_found_by_id_and_by_name():
    assert DOCUMENT.object(2) is DOCUMENT.object("cup")
    assert torch.equal(DOCUMENT.rows("knife"), DOCUMENT.labels == 5)
    assert DOCUMENT.counts() == {id: int((DOCUMENT.labels == id).sum()) for id in (1, 2, 5)}
    with pytest.raises(LookupError, match="no object 'bera'; did you mean 'bear'"):
        DOCUMENT.object("bera")
    with pytest.raises(LookupError, match="no object 3; there are bear, cup, knife"):
        DOCUMENT.rows(3)


def test_an_object_may_be_empty_and_its_id_is_not_given_again():
    document = Segmentation.of(SPLATS, objects=[SceneObject.new(9, "cup"), SceneObject.new(4, "bear")])
    assert document.ids == [4, 9]
    assert document.counts() == {4: 0, 9: 0}
    assert document.next_id == 10
    assert replace(document, objects=()).next_id == 10


def test_documents_can_be_pickled():
    document = DOCUMENT.with_votes(example_votes(len(SPLATS)))
    assert state(pickle.loads(pickle.dumps(document))) == state(document)


def test_changed_objects_replace_those_of_their_ids():
    changed = DOCUMENT.with_objects(SceneObject.new(2, "mug"), SceneObject.new(3, "fork"))
    assert changed.names == ["bear", "mug", "fork", "knife"]
    assert DOCUMENT.names == ["bear", "cup", "knife"]


def test_what_is_shown_of_a_document():
    document = replace(DOCUMENT, labels=torch.tensor([-1, 0, 1, 2, 5]), objects=DOCUMENT.objects)
    assert document.background_visible and document.hidden_names() == ()
    assert document.visible_rows().tolist() == [True] * 5
    hidden = document.with_objects(replace(document.object(2), visible=False))
    assert hidden.visible_rows().tolist() == [True, True, True, False, True]
    assert hidden.hidden_names() == ("cup",)
    # What was never seen goes with the background.
    bare = replace(hidden, background_visible=False)
    assert bare.visible_rows().tolist() == [False, False, True, False, True]
    assert bare.hidden_names() == ("background", "cup")
    empty = replace(Segmentation.of(SPLATS), background_visible=False)
    assert not empty.visible_rows().any() and empty.hidden_names() == ("background",)


def test_what_is_no_document():
    with pytest.raises(ValueError, match="two objects have the name 'bear'; each needs its own"):
        DOCUMENT.with_objects(SceneObject.new(3, "bear"))
    with pytest.raises(ValueError, match="two objects have the id 1"):
        replace(DOCUMENT, objects=(*DOCUMENT.objects, SceneObject.new(1, "other")))
    with pytest.raises(ValueError, match="a Gaussian has the label 5, but no object has this id"):
        replace(DOCUMENT, objects=DOCUMENT.objects[:2])
    with pytest.raises(ValueError, match="has the label -2"):
        replace(DOCUMENT, labels=torch.full_like(DOCUMENT.labels, -2))
    with pytest.raises(ValueError, match=r"labels are an \[N\] tensor of int64, got torch.int32 \[60\]"):
        replace(DOCUMENT, labels=DOCUMENT.labels.int())
    with pytest.raises(ValueError, match="60 Gaussians need as many labels, got 3"):
        Segmentation.of(SPLATS, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="background_visible is true or false, got 1"):
        replace(DOCUMENT, background_visible=1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="60 Gaussians need as many votes, got 3"):
        DOCUMENT.with_votes(example_votes(3))


def test_the_fingerprint_is_a_digest_of_little_endian_floats():
    means = torch.tensor([[1.0, -2.5, 3.0], [0.1, 0.0, float("inf")]])
    content = b"".join(struct.pack("<3f", *row) for row in means.tolist())
    assert fingerprint_of(means) == "blake2b-128:" + hashlib.blake2b(content, digest_size=16).hexdigest()


def test_the_fingerprint_belongs_to_values_and_their_order_alone():
    means = SPLATS.means
    assert fingerprint_of(means.double()) == fingerprint_of(means.T.contiguous().T) == fingerprint_of(means)
    assert fingerprint_of(means.flip(0)) != fingerprint_of(means)
    assert fingerprint_of(means.nextafter(means + 1)) != fingerprint_of(means)


def test_other_splats_are_noticed():
    DOCUMENT.check_splats(SPLATS)
    DOCUMENT.check_splats(SPLATS.to(torch.float64))
    with pytest.raises(ValueError, match=r"the splats have changed since they were segmented: there were 60 .* 59;"):
        DOCUMENT.check_splats(SPLATS.subset(torch.arange(59)))
    with pytest.raises(ValueError, match=r"the splats have changed .* in other places or in another order"):
        DOCUMENT.check_splats(SPLATS.subset(torch.arange(60).flip(0)))
