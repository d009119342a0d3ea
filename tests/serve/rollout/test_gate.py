import pytest

from lft_ray.serve.model.base import Model, SampleResult
from lft_ray.serve.rollout import gate
from lft_ray.serve.rollout.gate import compare
from tests.serve.conftest import make_predictor, make_question_predictor
from tests.serve.fleet import SAMPLES, open_model


@pytest.fixture(autouse=True)
def _few_timings(monkeypatch):
    monkeypatch.setattr(gate, "_TIMINGS", 5)


def compare_with_running(uri: str, *, recent=(), max_slowdown=5.0, min_agreement=0.5) -> str:
    return compare(
        open_model(uri), open_model("good:1"), recent, max_slowdown=max_slowdown, min_agreement=min_agreement
    )


def test_an_equal_model_passes():
    assert compare_with_running("good:2", recent=["bb", "ss"] * 10) == ""


def test_other_labels_are_rejected_by_name():
    assert "the labels sport missing and weather added" in compare_with_running("foreign:2")


def test_a_model_that_disagrees_on_every_sample_is_rejected():
    assert f"for each of its {len(SAMPLES)} sample texts" in compare_with_running("swapped:2")


def test_too_few_samples_prove_nothing():
    candidate = open_model("swapped:2")
    candidate.samples = SAMPLES[:4]
    assert compare(candidate, open_model("good:1"), (), max_slowdown=None, min_agreement=0.5) == ""


def distinct(word: str, count: int) -> list[str]:
    return [f"{word} {chr(ord('a') + n // 26)}{chr(ord('a') + n % 26)}" for n in range(count)]


def test_agreement_on_a_minority_of_recent_texts_is_rejected():
    # It classifies two texts of three as business, so most science texts get another label.
    recent = distinct("sssss", 30)
    found = compare_with_running("drifts:2", recent=recent)
    assert "agrees with the running model on only" in found
    assert "30 latest distinct texts" in found
    assert "serve.rollout.min_agreement" in found
    assert compare_with_running("drifts:2", recent=recent[:2]) == ""


@pytest.mark.parametrize("text", ["ss", "ss at {n}:00", "SS  {n}"])
def test_a_text_that_a_monitor_repeats_is_one_piece_of_evidence(text):
    recent = [text.format(n=n) for n in range(60)]
    assert compare_with_running("drifts:2", recent=recent) == ""


@pytest.mark.parametrize("bad", ["drifts:2", "swapped:2"])
def test_agreement_can_be_left_out(bad):
    assert compare_with_running(bad, recent=distinct("sssss", 30), min_agreement=0.0) == ""


def test_more_agreement_can_be_asked_for():
    recent = [*distinct("sssss", 20), *distinct("bbbbb", 20)]
    assert compare_with_running("drifts:2", recent=recent, min_agreement=0.5) == ""
    assert "evidence of less than 95%" in compare_with_running("drifts:2", recent=recent, min_agreement=0.95)


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
    found = compare(candidate, running, (), max_slowdown=max_slowdown, min_agreement=0.5)
    assert found.startswith(reason)
    assert bool(found) is bool(reason)


def test_models_that_answer_questions_are_compared_by_the_kind_of_their_answers():
    running, candidate = make_question_predictor("1"), make_question_predictor("2")
    candidate.samples = [(f"{word}?", f"it is {word} here") for word in ("Leeds", "York", "Hull", "Bath", "Ely")]
    assert compare(candidate, running, candidate.samples, max_slowdown=5.0, min_agreement=0.5) == ""
    never = make_question_predictor("2")
    never.samples = candidate.samples
    never._runner.encode = lambda texts: [[[]] for _ in texts]  # it finds no word, and so gives no answer
    told = compare(never, running, (), max_slowdown=None, min_agreement=0.5)
    assert "for each of its 5 sample texts" in told
    other = compare(make_predictor("2"), running, (), max_slowdown=None, min_agreement=0.5)
    assert "its task differs from that of the running model" in other
