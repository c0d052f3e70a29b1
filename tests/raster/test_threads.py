"""Torch's threads are left as they were."""

from __future__ import annotations

import pytest
import torch

from splatseg_ns.raster import one_torch_thread


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_one_thread_on_the_cpu_and_then_as_many_as_before():
    with one_torch_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    with pytest.raises(RuntimeError), one_torch_thread("cpu"):
        raise RuntimeError
    assert torch.get_num_threads() == 3
    with one_torch_thread("cuda:0"):
        assert torch.get_num_threads() == 3
