from lft_ray.records import Usage
from lft_ray.run.storage import Storage
from lft_ray.train.device.usage_notes import STATE, clear, noted_usage, put_usage


def test_noted_usage_sums_the_sessions_and_takes_the_larger_peak(tmp_path):
    state = Storage(tmp_path)
    assert noted_usage(state) is None
    put_usage(state, "a", Usage(core_s=1.0, peak_bytes=5))
    put_usage(state, "b", Usage(core_s=9.0, peak_bytes=3))
    # A later record of a session replaces its earlier one.
    put_usage(state, "b", Usage(core_s=10.0, peak_bytes=3))
    state.put("a-000000003/state.json", "{}")
    assert noted_usage(state) == Usage(core_s=11.0, peak_bytes=5)
    assert noted_usage(state, except_session="b") == Usage(core_s=1.0, peak_bytes=5)


def test_clear_removes_the_state_and_leaves_the_results(tmp_path):
    trial = Storage(tmp_path)
    put_usage(trial.child(STATE), "a", Usage())
    trial.put("result-1.json", "{}")
    clear(trial)
    assert not trial.exists(STATE)
    assert trial.exists("result-1.json")
