"""The model card: its header parses, its tables hold, and labels cannot become markup."""

import yaml

from lft_ray.export.card import CardFacts, CardSubject, render_card
from lft_ray.records.panels import label_panel
from lft_ray.tasks.classification import Classification
from lft_ray.tasks.questions.task import QuestionFacts, Questions

LABELS = ["World", "a | b", "<script>alert(1)</script>"]
QUESTIONS = Questions(QuestionFacts(has_none=True, by_character=False, longest_tokens=30))
SUBJECT = CardSubject(
    task_kind="classification",
    labels=LABELS,
    engine="torch",
    precision="bf16",
    model_size="minilm:3",
    max_length=128,
    described=Classification(LABELS).description,
)
FACTS = CardFacts(
    name="news",
    base_model="sentence-transformers/all-MiniLM-L6-v2",
    base_revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
    base_licence="apache-2.0",
    validation={"macro_f1": 0.8912},
    test={"macro_f1": 0.8854, "accuracy": 0.8861},
    test_rows=2000,
    panels=[label_panel([("a | b", 0.9, 0.8, 0.847, 500)])],
    train_rows=8000,
    data_fingerprint="ab" * 32,
    usd_per_million_predictions=0.1234,
    price="this_machine",
    p95_ms=12.3,
    policy="cheapest_within",
    reason="It is the cheapest within 0.005 of the best.",
)


def header(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_the_header_is_yaml_that_the_hub_reads():
    assert header(render_card(SUBJECT, FACTS)) == {
        "pipeline_tag": "text-classification",
        "library_name": "lft-ray",
        "license": "apache-2.0",
        "base_model": "sentence-transformers/all-MiniLM-L6-v2",
        "metrics": ["f1", "accuracy"],
        "tags": ["torch", "bf16", "minilm:3"],
    }


def test_all_facts_stand_on_it():
    card = render_card(SUBJECT, FACTS)
    for fact in (
        "c9745ed1",
        "0.8854",
        "2000 rows",
        "0.8912",
        "0.1234",
        "12.3",
        "abab",
        "cheapest within",
        "lft deploy",
    ):
        assert fact in card, fact


def test_what_is_not_known_is_left_out():
    card = render_card(SUBJECT, CardFacts(name="news"))
    assert "USD" not in card
    assert "## Measured" not in card
    assert "## Data" not in card
    assert "None" not in card
    assert set(header(card)) == {"pipeline_tag", "library_name", "metrics", "tags"}


def test_a_distilled_model_says_so():
    told = FACTS.model_copy(update={"training": "distilled from minilm:6 (t005) at weight 0.7, temperature 2"})
    assert "| Trained | distilled from minilm:6 (t005) at weight 0.7, temperature 2 |" in render_card(SUBJECT, told)
    assert "Trained" not in render_card(SUBJECT, FACTS)


def test_labels_stay_text():
    for facts in (FACTS, CardFacts(name="# x\n<b>")):
        card = render_card(SUBJECT, facts)
        assert "<script>" not in card
        assert "<b>" not in card
    assert r"| a \| b | 0.900" in render_card(SUBJECT, FACTS)


def test_a_name_cannot_leave_the_header():
    card = render_card(SUBJECT, FACTS.model_copy(update={"base_model": "x\n---\nlicense: mit"}))
    assert header(card)["license"] == "apache-2.0"


def test_the_card_of_a_model_that_answers_questions():
    subject = SUBJECT.replace(task_kind="question_answering", labels=[], described=QUESTIONS.description)
    card = render_card(subject, FACTS)
    assert header(card)["pipeline_tag"] == "question-answering"
    assert header(card)["metrics"] == ["f1", "exact_match"]
    assert "Extractive question answering (question_answering)." in card
    assert '-d \'{"inputs": {"question": "a question", "context": "its context"}}\'' in card
    assert "classif" not in card
