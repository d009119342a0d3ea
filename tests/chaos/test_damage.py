"""Every file of a finished run and of a bundle, damaged in every way: the whole matrix as one row of the table."""

import os
import shutil
from pathlib import Path

import pytest

from lft_ray.run import files as run_files
from tests.cli.test_damaged_runs import BOOKKEEPING, COMMANDS, DAMAGES, DATA, DERIVED, RECORDS, bit, check_named, invoke
from tests.cli.test_damaged_runs import whole as whole

pytestmark = [pytest.mark.chaos, pytest.mark.stress, pytest.mark.timeout(900)]
FILES = (*BOOKKEEPING, *DERIVED, *RECORDS, *DATA)


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(run_files, "_told", set())
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def copy_of(whole: Path, tmp_path: Path) -> Path:
    run = tmp_path / "colours"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(whole, run)
    return run


def test_a_damaged_run_is_refused_by_name_or_read_right(whole, tmp_path, row):
    fault = f"{len(FILES)} kinds of files x {len(DAMAGES) + 1} damages x {len(COMMANDS)} commands"
    codes: dict[int, int] = {}
    original = copy_of(whole, tmp_path)
    right = {command: invoke(command, str(original)).stdout for command in ("status", "leaderboard")}
    with row(fault) as outcome:
        for name in FILES:
            for damage in (*DAMAGES, None):
                run = copy_of(whole, tmp_path)
                path = run / name
                if damage is None:
                    path.unlink()
                else:
                    path.write_bytes(damage(path.read_bytes()))
                for command in COMMANDS:
                    result = invoke(command, str(run))
                    check_named(result, name)
                    codes[result.exit_code] = codes.get(result.exit_code, 0) + 1
                    left = [p for p in run.rglob("*") if p.name.startswith((".bundle-candidate", "bundle-candidate"))]
                    # A file that is missing is told; one that is damaged is never the reason of another result.
                    is_told = damage is None or name in BOOKKEEPING or result.exit_code != 0
                    is_right = is_told or result.stdout == right.get(command, result.stdout)
                    outcome.survive(lost=int(not is_right), left=len(left))
                    assert is_right, (name, command, result.stdout)
        outcome.note = ", ".join(f"exit {code}: {count}" for code, count in sorted(codes.items()))
    assert outcome.injected == len(FILES) * (len(DAMAGES) + 1) * len(COMMANDS)
    assert outcome.left == 0


def test_one_bit_in_any_file_of_a_bundle_is_refused(whole, tmp_path, row):
    run = copy_of(whole, tmp_path)
    assert invoke("export", str(run)).exit_code == 0
    bundle = tmp_path / "alone"
    shutil.copytree(run / "bundle", bundle)
    (tmp_path / "in.csv").write_text("text\nbrick today\n")

    def predicted():
        output = str(tmp_path / "out.parquet")
        return invoke("predict", str(bundle), "--input", str(tmp_path / "in.csv"), "--output", output)

    assert predicted().exit_code == 0
    names = sorted(str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file())
    with row("one bit in each file of a bundle") as outcome:
        wrong = []
        for name in names:
            before = (bundle / name).read_bytes()
            (bundle / name).write_bytes(bit(before))
            (tmp_path / "out.parquet").unlink(missing_ok=True)
            result = predicted()
            assert "bug in lft_ray" not in result.output
            is_right = result.exit_code == 2 and name in result.stderr
            outcome.survive(lost=int(not is_right))
            if not is_right:
                wrong.append((name, result.exit_code, result.output))
            (bundle / name).write_bytes(before)
    assert wrong == []
    assert outcome.injected == len(names) > 5
