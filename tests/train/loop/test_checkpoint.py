import pytest
import torch

from lft_ray.records import CurvePoint, Usage
from lft_ray.run.storage import Storage
from lft_ray.train.device.usage_notes import noted_usage
from lft_ray.train.loop.checkpoint import Progress, StateStore
from lft_ray.train.loop.loop import train
from lft_ray.train.loop.optim import build_optimizer
from tests.chaos.injectors import damage

SAVE_ALWAYS = {"checkpoint_every_s": 0.0}


class CrashError(Exception):
    pass


def crash_at(step: int):
    calls = iter(range(1000))

    def should_stop() -> bool:
        if next(calls) + 1 == step:
            raise CrashError
        return False

    return should_stop


@pytest.mark.parametrize("step", [1, 5, 8, 9, 20, 24])
def test_resume_reaches_the_weights_of_an_uninterrupted_run(loop_job, tmp_path, step):
    uninterrupted = loop_job()
    wanted = train(uninterrupted, lambda _: None, lambda: False)
    folder = Storage(tmp_path / "state")
    first = loop_job(training=SAVE_ALWAYS, states=StateStore(folder, "key"))
    before, reported = [], []
    with pytest.raises(CrashError):
        train(first, before.append, crash_at(step))
    second = loop_job(training=SAVE_ALWAYS, states=StateStore(folder, "key"))
    got = train(second, reported.append, lambda: False)
    for one, other in zip(uninterrupted.network.parameters(), second.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-6)
    assert len(got.curve) == 4
    for mine, theirs in zip(got.curve, wanted.curve, strict=True):
        assert (mine.fraction, mine.f1, mine.step) == (theirs.fraction, theirs.f1, theirs.step)
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-6)
        assert mine.train_loss == (theirs.train_loss and pytest.approx(theirs.train_loss, rel=1e-6))
    # The whole curve is reported again, and points from before the checkpoint keep their original seconds.
    assert [point.step for point in reported] == [0, 8, 16, 24]
    if step > 1:
        assert [p for p in reported if p.step < step] == [p for p in before if p.step < step]


def test_usage_before_a_crash_is_counted(loop_job, tmp_path):
    folder = Storage(tmp_path / "state")
    with pytest.raises(CrashError):
        train(loop_job(training=SAVE_ALWAYS, states=StateStore(folder, "key")), lambda _: None, crash_at(20))
    before = StateStore(folder, "key").earlier_usage()
    assert before.tokens > 0
    job = loop_job(training=SAVE_ALWAYS, states=StateStore(folder, "key"))
    usage = train(job, lambda _: None, lambda: False).usage
    assert usage.tokens == before.tokens + job.meter.own().tokens
    assert usage.core_s > before.core_s
    assert job.meter.carried == before


def test_nothing_is_saved_before_the_interval(loop_job, tmp_path):
    folder = Storage(tmp_path / "state")
    train(loop_job(training={"checkpoint_every_s": 1000.0}, states=StateStore(folder, "key")), print, lambda: False)
    assert StateStore(folder, "key").newest() is None
    assert StateStore(folder, "key").earlier_usage().core_s > 0


def test_usage_is_on_storage_when_a_point_is_reported(loop_job, tmp_path):
    """A stop rule may end the trial at the point, and the driver prices the recorded usage."""
    folder, noted = Storage(tmp_path / "state"), []
    training = {"checkpoint_every_s": 1000.0}

    def stop_at_16(point):
        noted.append(noted_usage(folder))
        if point.step == 16:
            raise SystemExit(0)

    with pytest.raises(SystemExit):
        train(loop_job(training=training, states=StateStore(folder, "key")), stop_at_16, lambda: False)
    tokens = [usage.tokens for usage in noted]
    assert tokens[0] == 0 < tokens[1] < tokens[2]
    assert 0 < noted[0].core_s < noted[1].core_s < noted[2].core_s
    assert noted_usage(folder) == noted[-1]
    job = loop_job(training=training, states=StateStore(folder, "key"))
    train(job, lambda _: None, lambda: False)
    assert job.meter.carried == noted[-1]


def saved(job, folder: Storage, step: int, key: str = "key") -> StateStore:
    store = StateStore(folder, key)
    optimizer = build_optimizer(job.network, 1e-3, 0.01)
    job.network.head.weight.sum().backward()
    optimizer.step()
    point = CurvePoint(fraction=0.5, f1=0.1, loss=1.0, train_s=1.0, step=step)
    store.save(job.network, optimizer, Progress(key=key, step=step, curve=[point]))
    return store


def test_newest_finds_the_latest_complete_state_of_the_same_run(loop_job, tmp_path):
    folder, job = Storage(tmp_path / "state"), loop_job()
    saved(job, folder, 3)
    saved(job, folder, 7)
    saved(job, folder, 9, key="another")
    # An interrupted save has tensors but no JSON, or a truncated JSON.
    folder.put("cut-000000011/part-0000.safetensors", b"half")
    folder.put("torn-000000012/state.json", b'{"key": "key", "st')
    found = StateStore(folder, "key").newest()
    assert found is not None
    assert found[1].step == 7
    assert StateStore(folder, "unknown").newest() is None


def test_a_session_has_one_state_at_a_time(loop_job, tmp_path):
    folder, job = Storage(tmp_path / "state"), loop_job()
    store = StateStore(folder, "key")
    optimizer = build_optimizer(job.network, 1e-3, 0.01)
    for step in (1, 2, 3):
        store.save(job.network, optimizer, Progress(key="key", step=step, curve=[]))
    store.put_usage(Usage(core_s=1.0))
    assert len(folder.folders()) == 2
    assert store.earlier_usage() == Usage()


def test_no_pickle_is_written(loop_job, tmp_path):
    saved(loop_job(), Storage(tmp_path / "state"), 3)
    names = {path.name for path in (tmp_path / "state").rglob("*") if path.is_file()}
    assert names == {"part-0000.safetensors", "sum-0000.json", "state.json"}


@pytest.mark.parametrize("how", ["empty", "half", "bit", "missing"])
@pytest.mark.parametrize("name", ["part-0000.safetensors", "state.json", "sum-0000.json"])
def test_a_damaged_state_is_discarded_and_the_previous_one_is_used(loop_job, tmp_path, name, how):
    folder, job = Storage(tmp_path / "state"), loop_job()
    saved(job, folder, 3)
    saved(job, folder, 7)
    (newest,) = (tmp_path / "state").glob("*-000000007")
    damage(newest / name, how)
    store = StateStore(folder, "key")
    found = store.newest()
    assert found is not None
    if (name, how) == ("state.json", "bit"):
        # One bit of the JSON may be a digit of a number that the state does not depend on.
        assert found[1].step in (3, 7)
        return
    assert found[1].step == 3
    assert bool(store.note) is ((name, how) != ("state.json", "missing"))


def test_without_a_whole_state_a_run_begins_anew(loop_job, tmp_path):
    folder = Storage(tmp_path / "state")
    with pytest.raises(CrashError):
        train(loop_job(training=SAVE_ALWAYS, states=StateStore(folder, "key")), lambda _: None, crash_at(9))
    (part,) = (tmp_path / "state").glob("*/part-0000.safetensors")
    damage(part, "half")
    (note,) = (tmp_path / "state").glob("usage-*/usage.json")
    damage(note, "half")
    job = loop_job(training=SAVE_ALWAYS, states=StateStore(folder, "key"))
    reported = []
    assert train(job, reported.append, lambda: False).status == "done"
    assert [point.step for point in reported] == [0, 8, 16, 24]
    assert job.states.note.startswith("its training state of step ")
    assert job.meter.carried == Usage()
