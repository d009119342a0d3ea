"""Ends of trials, told apart from real exceptions: of the kernel, of the libraries, and of Ray."""

import errno
import os
import pickle
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lft_ray.causes import (
    EndCause,
    Fault,
    MachineError,
    cause_of,
    cause_of_text,
    error_of,
    fault_of,
    free_bytes,
    full_place,
    named_faults,
)
from lft_ray.errors import InputError, ModelError, StorageError, UnreachableError
from lft_ray.run.storage import Storage

MEGABYTE = b"x" * 1_000_000


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder in which nothing more than a few kilobytes can be written."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mount.returncode == 0:
        yield folder
        subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    # Not root: a limit on the size of files gives the same kind of error.
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64_000, before[1]))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def raised(action) -> BaseException:
    with pytest.raises(Exception) as info:  # noqa: PT011
        action()
    return info.value


def test_a_full_disk_is_seen_through_every_library_that_writes(full_disk):
    target = full_disk / "file"
    writers = {
        "python": lambda: target.write_bytes(MEGABYTE),
        "storage": lambda: Storage(full_disk).put("trials/t000/result-1.json", MEGABYTE),
        "safetensors": lambda: save_file({"a": torch.zeros(250_000)}, str(target)),
        "numpy": lambda: np.save(target, np.zeros(125_000)),
        "tofile": lambda: np.zeros(125_000).tofile(target),
    }
    for name, write in writers.items():
        error = raised(write)
        assert cause_of(error) is EndCause.DISK_FULL, f"{name}: {error!r}"
        target.unlink(missing_ok=True)
    assert full_place(str(full_disk)) == str(full_disk) or free_bytes(str(full_disk)) > 64_000


def test_the_error_of_a_full_disk_names_path_free_and_needed(full_disk):
    with pytest.raises(StorageError) as info, named_faults(str(full_disk), needed_bytes=2.5e9):
        Storage(full_disk).put("big", MEGABYTE)
    text = str(info.value)
    assert "the disk is full" in text
    assert str(full_disk) in text
    assert "B free" in text
    assert "about 2.5 GB needed" in text
    assert "--resume" in text
    assert info.value.exit_code == 2


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (errno.ENOSPC, EndCause.DISK_FULL),
        (errno.EDQUOT, EndCause.DISK_FULL),
        (errno.EFBIG, EndCause.DISK_FULL),
        (errno.EROFS, EndCause.READ_ONLY),
        (errno.EACCES, EndCause.READ_ONLY),
        (errno.EIO, EndCause.IO_ERROR),
        (errno.ESTALE, EndCause.IO_ERROR),
        (errno.EMFILE, EndCause.IO_ERROR),
        (errno.ENOMEM, EndCause.OUT_OF_MEMORY),
        (errno.ETIMEDOUT, EndCause.STORAGE_UNREACHABLE),
        (errno.ECONNREFUSED, EndCause.STORAGE_UNREACHABLE),
        (errno.EINVAL, EndCause.CONFIGURATION),
    ],
)
def test_numbers_of_the_kernel(code, cause):
    error = OSError(code, os.strerror(code), "/runs/a/trials/t000/x")
    assert cause_of(error) is cause
    # The same under an exception of another kind, as libraries wrap them.
    wrapped = raised(lambda: wrap(error))
    assert cause_of(wrapped) is cause


def wrap(error: Exception) -> None:
    try:
        raise error
    except OSError as found:
        raise RuntimeError("saving failed") from found


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("SafetensorError: Error while serializing: I/O error: No space left on device (os error 28)", "disk_full"),
        ("Error: Read-only file system (os error 30)", "read_only"),
        ("OSError: [Errno 5] Input/output error", "io_error"),
        ("ActorDiedError: The actor is dead because its node has died. Node Id: 3", "node_lost"),
        ("ActorDiedError: The actor is dead because its worker process has died", "worker_killed"),
        ("OutOfMemoryError: Task was killed due to the node running low on memory", "out_of_memory"),
        ("RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes", "out_of_memory"),
        (
            "OSError: When reading information for key 'x' in bucket 'b': AWS Error NETWORK_CONNECTION during "
            "HeadObject operation: curlCode: 7, Couldn't connect to server",
            "storage_unreachable",
        ),
        ("ValueError: learning rate must be positive", "configuration"),
        ("RuntimeError: expected 3 columns requested and 2 given", "configuration"),
        ("IndexError: index 31000 is out of range", "configuration"),
        ("", "configuration"),
    ],
)
def test_words_that_crossed_a_process(text, cause):
    assert cause_of_text(text) == cause


def test_errors_of_ray_are_known_by_their_classes():
    from ray import exceptions

    assert cause_of(exceptions.OutOfMemoryError("killed")) is EndCause.OUT_OF_MEMORY
    assert cause_of(exceptions.ActorDiedError()) is EndCause.WORKER_KILLED
    assert cause_of(exceptions.WorkerCrashedError()) is EndCause.WORKER_KILLED
    assert cause_of(exceptions.ActorUnavailableError("network", b"0" * 16)) is EndCause.NODE_LOST
    assert cause_of(MemoryError()) is EndCause.OUT_OF_MEMORY
    assert cause_of(torch.OutOfMemoryError("CUDA out of memory")) is EndCause.OUT_OF_MEMORY


def test_an_error_written_for_the_user_keeps_its_words():
    error = raised(lambda: model_error())
    assert cause_of(error) is EndCause.READ_ONLY  # the cause below it is the machine's all the same
    assert cause_of(ModelError("no model: No space left on device")) is EndCause.CONFIGURATION


def model_error() -> None:
    try:
        raise PermissionError(errno.EACCES, "Permission denied")
    except OSError as error:
        raise ModelError("the base cannot be read") from error


def test_a_file_of_the_run_that_is_gone_is_no_matter_of_the_configuration(tmp_path):
    missing = raised(lambda: (tmp_path / "data" / "train.arrow").read_bytes())
    assert cause_of(missing, within=str(tmp_path)) is EndCause.IO_ERROR
    assert cause_of(missing, within="/elsewhere") is EndCause.CONFIGURATION
    assert fault_of(missing, path=str(tmp_path)).path.endswith("train.arrow")


def test_a_fault_crosses_processes_whole():
    fault = Fault(cause=EndCause.DISK_FULL, message="no space", path="/runs")
    error = pickle.loads(pickle.dumps(MachineError(fault)))
    assert error.fault == fault
    assert fault_of(error) == fault
    assert Fault.model_validate_json(fault.model_dump_json()) == fault


@pytest.mark.parametrize("path", ["/runs/a", "s3://bucket/runs/a"])
def test_a_connection_that_fails_is_the_storage_only_where_the_storage_is_remote(path):
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
    with pytest.raises(UnreachableError if "://" in path else ConnectionRefusedError), named_faults(path):
        raise refused


def test_errors_for_the_user_and_defects_pass_through():
    for error in (InputError("bad"), ValueError("bad")):
        with pytest.raises(type(error), match="bad"), named_faults("/runs"):
            raise error


def test_free_bytes_of_a_folder_that_is_not_there_yet(tmp_path):
    assert free_bytes(str(tmp_path / "a" / "b")) == pytest.approx(free_bytes(str(tmp_path)), rel=0.1)
    assert free_bytes("s3://bucket/run") is None
    assert "B free" not in str(error_of(Fault(cause=EndCause.DISK_FULL, message="full", path="s3://b/run")))


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_too_many_open_files_are_not_called_a_failing_disk(number):
    found = error_of(fault_of(OSError(number, os.strerror(number), "/run/x")))
    assert "too many open files at /run/x" in str(found)
    assert "ulimit -n" in found.fix
