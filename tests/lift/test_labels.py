"""One label for each Gaussian."""

from __future__ import annotations

import torch

from splatseg_ns.lift import Labels

LABELS = Labels(torch.tensor([0, 3, -1, 3, 12]), torch.zeros(5).double())


def test_rows_objects_and_shares():
    assert len(LABELS) == 5
    assert LABELS.rows(3).tolist() == [False, True, False, True, False]
    assert LABELS.objects.tolist() == [3, 12]
    assert LABELS.shares_of(torch.tensor([12, 0, 5])).tolist() == [
        [0.0, 1.0, 0.0],
        [0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0],
        [1.0, 0.0, 0.0],
    ]
