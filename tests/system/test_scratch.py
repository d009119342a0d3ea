"""Temporary folders whose owner lives, and those whose owner has died."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lft_ray.errors import InputError
from lft_ray.system import scratch


@pytest.fixture(autouse=True)
def parent(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "_parents", lambda: [tmp_path])
    return tmp_path


def test_a_folder_of_a_living_owner_stays(parent):
    found = scratch.make()
    assert scratch.sweep() == []
    found.remove()
    assert not found.path.exists()


def test_a_folder_of_a_dead_owner_goes(parent):
    code = (
        "import os, sys; from pathlib import Path; from lft_ray.system import scratch\n"
        "print(scratch.make('lft-ray-', Path(sys.argv[1])).path, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(parent)], capture_output=True, text=True, timeout=60)
    folder = Path(done.stdout.strip())
    assert folder.is_dir()
    assert scratch.sweep() == [folder]
    assert not folder.exists()


def test_what_has_no_lock_is_left_alone(parent):
    (parent / "lft-tmp-x").mkdir()
    (parent / "lft-ray-1-y").mkdir()
    (parent / "other").mkdir()
    target = scratch.make("other-").path
    (parent / "lft-tmp-link").symlink_to(target)
    assert scratch.sweep() == []
    assert len(list(parent.iterdir())) == 5


def test_temporary_files_of_a_command_are_in_its_folder(parent, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(parent))
    with scratch.own() as folder:
        made = Path(tempfile.mkdtemp(prefix="lft-tune-"))
        assert made.parent == folder
        assert os.environ["TMPDIR"] == str(folder)
        assert scratch.without(os.environ)["TMPDIR"] == str(parent)
        assert scratch.system_folder() == parent
    assert os.environ["TMPDIR"] == str(parent)
    assert list(parent.iterdir()) == []


def test_a_traceback_outlives_its_command_by_a_week(parent):
    with scratch.own() as folder:
        scratch.traceback_file().write_text("Traceback")
    assert (folder / "error.traceback").is_file()
    os.utime(folder)
    locks = [scratch._sweep(folder)]
    os.utime(folder, (0, 0))
    # The lock of this very process is still open; another process would find it free after its end.
    assert locks == [False]


@pytest.mark.parametrize("letters", [11, 150])
def test_sockets_need_a_short_folder(monkeypatch, parent, letters):
    monkeypatch.setattr(scratch, "_parents", lambda: [Path("/" + "x" * letters), Path("/tmp")])
    assert scratch.short_parent() == Path("/tmp")
    monkeypatch.setattr(scratch, "_parents", lambda: [Path("/" + "x" * letters)])
    with pytest.raises(InputError, match="TMPDIR"):
        scratch.short_parent()


def test_programs_do_not_start_from_a_mount_without_exec(monkeypatch):
    class Status:
        f_flag = os.ST_NOEXEC

    monkeypatch.setattr(scratch, "_parents", lambda: [Path("/tmp")])
    monkeypatch.setattr(os, "statvfs", lambda path: Status())
    assert scratch.short_parent() == Path("/tmp")
    with pytest.raises(InputError, match="noexec"):
        scratch.short_parent(executable=True)
