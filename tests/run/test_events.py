"""Event files for TensorBoard: every point once, whoever died, and never a reason for a trial to end."""

import logging

import pytest

from lft_ray.records import CurvePoint, ScoredVariant, TrialConfig, TrialRecord, TrialStatus, Usage
from lft_ray.run.events import PREFIX, EventFile
from lft_ray.run.ledger import Ledger, StartedTrial
from lft_ray.run.lock import DriverLock
from lft_ray.run.storage import Storage
from tests.run.event_files import events_of, files_of, scalars_of

AT = "2026-11-29T12:00:00+00:00"
AT_S = 1795953600.0
CURVE = [
    CurvePoint(fraction=0.0, f1=0.25, loss=1.5, train_s=2.0, core_s=3.0),
    CurvePoint(fraction=0.5, f1=0.5, loss=1.0, train_s=10.0, step=8, train_loss=1.25, learning_rate=0.125, core_s=12.0),
    CurvePoint(
        fraction=1.0, f1=0.75, loss=0.5, train_s=20.0, step=16, train_loss=0.5, learning_rate=0.0625, core_s=22.0
    ),
]
CONFIG = TrialConfig(model_size="minilm:1", max_length=32, seed=0)


def record(attempt: int = 1, curve: list[CurvePoint] = CURVE, **changes: object) -> TrialRecord:
    values = {
        "status": TrialStatus.DONE,
        "usage": Usage(core_s=24.0),
        "training_usd": 0.5,
        "variants": [ScoredVariant(precision="fp32", max_length=32, f1=0.75)],
    }
    return TrialRecord(
        trial_id="t000", attempt=attempt, config=CONFIG, curve=curve, started_at=AT, **{**values, **changes}
    )


def of(folder, attempt: int = 1) -> EventFile:
    return EventFile(Storage(folder), "t000", attempt, AT)


def test_a_trial_grows_point_by_point(tmp_path):
    file, sizes = of(tmp_path), []
    for count in range(1, len(CURVE) + 1):
        file.show(CURVE[:count])
        sizes.append((tmp_path / file.name).stat().st_size)
        inode = (tmp_path / file.name).stat().st_ino
    assert sizes == sorted(set(sizes))
    file.close(record())
    # TensorBoard keeps the file open: it must be the same one to the end.
    assert (tmp_path / file.name).stat().st_ino == inode
    assert scalars_of(tmp_path / file.name) == {
        "train/loss": {8: 1.25, 16: 0.5},
        "train/learning_rate": {8: 0.125, 16: 0.0625},
        "validation/f1": {0: 0.25, 8: 0.5, 16: 0.75},
        "validation/loss": {0: 1.5, 8: 1.0, 16: 0.5},
        "usage/core_seconds": {0: 3.0, 8: 12.0, 16: 22.0},
        "total/core_seconds": {16: 24.0},
        "total/training_usd": {16: 0.5},
        "total/validation_f1": {16: 0.75},
    }
    events = events_of(tmp_path / file.name)
    assert events[0].file_version == "brain.Event:2"
    assert [event.wall_time - AT_S for event in events[:4]] == [0.0, 2.0, 10.0, 20.0]


def test_the_same_file_comes_of_a_record_alone(tmp_path):
    live, later = of(tmp_path / "a"), of(tmp_path / "b")
    live.show(CURVE[:2])
    live.close(ended := record())
    later.close(ended)
    assert (tmp_path / "a" / live.name).read_bytes() == (tmp_path / "b" / later.name).read_bytes()


def test_a_later_attempt_repeats_the_points_and_takes_the_place_of_the_older_file(tmp_path):
    first = of(tmp_path)
    first.show(CURVE[:2])
    second = of(tmp_path, 2)
    for count in (1, 2, 3):
        second.show(CURVE[:count])
    second.close(record(2))
    [path] = files_of(tmp_path)
    assert path.name == second.name
    assert list(scalars_of(path)["validation/f1"]) == [0, 8, 16]
    # A TensorBoard that has read the first file forgets its points at this mark.
    assert events_of(path)[1].session_log.status == 1
    assert path.name > first.name


def test_a_driver_that_died_within_a_point_leaves_nothing_broken(tmp_path):
    file = of(tmp_path)
    file.show(CURVE[:2])
    whole = (tmp_path / file.name).read_bytes()
    (tmp_path / file.name).write_bytes(whole[:-7])
    of(tmp_path).close(record())
    [path] = files_of(tmp_path)
    assert list(scalars_of(path)["validation/f1"]) == [0, 8, 16]


def test_a_curve_that_changed_is_written_anew(tmp_path):
    file = of(tmp_path)
    file.show(CURVE[:2])
    other = CURVE[1].replace(fraction=0.4, step=7)
    file.show([CURVE[0], other])
    assert list(scalars_of(tmp_path / file.name)["validation/f1"]) == [0, 7]


def test_a_trial_without_points_has_its_totals(tmp_path):
    file = of(tmp_path)
    file.close(record(curve=[], status=TrialStatus.FAILED, variants=[]))
    assert scalars_of(tmp_path / file.name) == {"total/core_seconds": {0: 24.0}, "total/training_usd": {0: 0.5}}


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e300])
def test_values_that_no_file_can_hold_are_left_out(tmp_path, value):
    file = of(tmp_path)
    file.show([CURVE[1].model_copy(update={"loss": value})])
    assert "validation/loss" not in scalars_of(tmp_path / file.name)


def test_trouble_ends_no_trial(tmp_path, caplog):
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        of(tmp_path / "file" / "t000").show(CURVE)
    assert "is not written" in caplog.text


def test_a_bucket_gets_the_file_when_the_trial_ends(tmp_path):
    (tmp_path / "t000").mkdir()
    storage = Storage(tmp_path / "t000")
    storage.is_local, storage.uri = False, f"file://{tmp_path / 't000'}"
    file = EventFile(storage, "t000", 1, AT)
    file.show(CURVE[:2])
    assert files_of(tmp_path / "t000") == []
    file.close(record())
    assert list(scalars_of(tmp_path / "t000" / file.name)["validation/f1"]) == [0, 8, 16]


def test_the_ledger_writes_them(tmp_path):
    storage = Storage(tmp_path)
    ledger = Ledger(storage)
    with DriverLock(storage, lambda text: None):
        ledger.start(StartedTrial(trial_id="t000", number=0, config=CONFIG, started_at=AT))
        ledger.note_curve("t000", CURVE[:2])
        [path] = files_of(tmp_path / "trials" / "t000")
        assert list(scalars_of(path)["validation/f1"]) == [0, 8]
        ledger.start(StartedTrial(trial_id="t000", number=0, config=CONFIG, attempt=2, started_at=AT))
        ledger.put(record(2))
    [path] = files_of(tmp_path / "trials" / "t000")
    assert path.name.endswith(".2")
    assert list(scalars_of(path)["total/validation_f1"]) == [16]
    assert [found.trial_id for found in Ledger(storage).records()] == ["t000"]


def test_tensorboard_reads_them(tmp_path):
    """Where TensorBoard is installed, its own reader finds the same points, also while the file grows."""
    name = "tensorboard.backend.event_processing.event_accumulator"
    module = pytest.importorskip(name, reason="needs TensorBoard: pip install tensorboard")
    reader = module.EventAccumulator(str(tmp_path))
    first, second = of(tmp_path), of(tmp_path, 2)
    first.show(CURVE[:2])
    reader.Reload()
    assert [(point.step, point.value) for point in reader.Scalars("validation/f1")] == [(0, 0.25), (8, 0.5)]
    second.show(CURVE[:1])
    second.show(CURVE)
    second.close(record(2))
    reader.Reload()
    assert [(point.step, point.value) for point in reader.Scalars("validation/f1")] == [(0, 0.25), (8, 0.5), (16, 0.75)]
    assert [point.value for point in reader.Scalars("total/core_seconds")] == [24.0]
    assert all(PREFIX in path.name for path in tmp_path.iterdir())
