import pytest

from lft_ray.serve.model.base import Model, SampleResult
from lft_ray.serve.rollout import gate
from lft_ray.serve.rollout.gate import compare
from tests.serve.fleet import SAMPLES, open_model


@pytest.fixture(autouse=True)
def _few_timings(monkeypatch):
    monkeypatch.setattr(gate, "_TIMINGS", 5)


def compare_with_running(uri: str, *, recent=(), max_slowdown=5.0) -> str:
    return compare(open_model(uri), open_model("good:1"), recent, max_slowdown=max_slowdown)


def test_an_equal_model_passes():
    assert compare_with_running("good:2", recent=["bb", "ss"] * 10) == ""


def test_other_labels_are_rejected_by_name():
    assert "the labels sport missing and weather added" in compare_with_running("foreign:2")


def test_a_model_that_disagrees_on_every_sample_is_rejected():
    assert f"for each of its {len(SAMPLES)} sample texts" in compare_with_running("swapped:2")


def test_too_few_samples_prove_nothing():
    candidate = open_model("swapped:2")
    candidate.samples = SAMPLES[:4]
    assert compare(candidate, open_model("good:1"), (), max_slowdown=None) == ""


def test_agreement_on_a_minority_of_recent_texts_is_rejected():
    # It classifies two texts of three as business, so most science texts get another label.
    recent = ["ss"] * 30
    assert "agrees with the running model on only" in compare_with_running("drifts:2", recent=recent)
    assert compare_with_running("drifts:2", recent=["ss"] * 2) == ""


def timed(monkeypatch, version: str, latency_ms: float) -> Model:
    """A model whose every prediction takes ``latency_ms``, which no other load on the machine changes."""
    model = open_model(f"good:{version}")
    monkeypatch.setattr(model, "run_samples", lambda texts: [SampleResult("business", latency_ms) for _ in texts])
    return model


@pytest.mark.parametrize(
    ("candidate_ms", "running_ms", "max_slowdown", "reason"),
    [
        (30.0, 5.0, 5.0, "it is too slow: p95 30 ms on its sample texts, against 5 ms of the running model"),
        (30.0, 6.0, 5.0, ""),
        (30.0, 5.0, None, ""),
        (24.9, 0.1, 5.0, ""),
    ],
)
def test_a_slowdown_counts_above_the_limit_and_the_floor(monkeypatch, candidate_ms, running_ms, max_slowdown, reason):
    candidate, running = timed(monkeypatch, "2", candidate_ms), timed(monkeypatch, "1", running_ms)
    found = compare(candidate, running, (), max_slowdown=max_slowdown)
    assert found.startswith(reason)
    assert bool(found) is bool(reason)
