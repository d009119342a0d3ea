import os

import psutil
import pytest
import torch

from lft_ray.errors import first_line
from lft_ray.train.device.memory import OutOfMemoryError, agree_on_oom, is_out_of_memory, memory_bytes
from lft_ray.train.device.process_group import Group


def test_an_error_of_the_cpu_allocator_is_out_of_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value)
    assert "\n" not in first_line(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


def test_out_of_memory_in_agreed_code_raises_with_the_first_line_of_the_reason():
    with (
        pytest.raises(OutOfMemoryError, match=r"outside the training passes: Tried to allocate 2.00 GiB\.$"),
        agree_on_oom(Group()),
    ):
        raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB.\nadvice")


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("no")])
def test_agree_on_oom_passes_other_errors_on(error):
    with pytest.raises(type(error), match=str(error)), agree_on_oom(Group()):
        raise error


def test_workers_on_one_machine_share_its_free_memory(monkeypatch):
    free = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    monkeypatch.delitem(os.environ, "LOCAL_WORLD_SIZE", raising=False)
    assert memory_bytes("cpu") == free.available
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory_bytes("cpu") == free.available / 4
