"""Export of a trial: the selected variant if it passes the parity check, else the next more exact one, with a note."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from lft_ray.config import Experiment
from lft_ray.data.prepare import prepare
from lft_ray.engines import onnx_build
from lft_ray.errors import BundleError
from lft_ray.export.build import export_trial
from lft_ray.export.bundle import open_bundle
from lft_ray.pipeline import select
from lft_ray.records import Selection, TrialRecord
from lft_ray.run.folder import RunFolder
from lft_ray.run.storage import Storage
from lft_ray.search.single import train_one
from tests import handed_down

WORDS = {"sport": ["match", "coach", "goal"], "money": ["bank", "market", "stocks"]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_bert):
    """An experiment, its data, and one trained trial with an fp32 and an int8 variant."""
    folder = tmp_path_factory.mktemp("stage")
    rows = [f"the {words[n % 3]} was near {n},{label}" for n in range(60) for label, words in WORDS.items()]
    (folder / "rows.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    experiment = Experiment(
        name="stage",
        data={"train": str(folder / "rows.csv"), "split": {"validation": 0.3, "test": 0.2}},
        models=[{"base": str(tiny_bert), "layers": [1]}],
        training={"learning_rate": 1e-2, "batch_size": 8, "epochs": 2, "max_length": 16, "precision": "fp32"},
        export={"precisions": ["fp32", "int8"]},
        selection={"margin": 0.05, "confirmation_fraction": 0},
        storage=str(folder / "runs"),
    )
    run = RunFolder.begin(experiment, resume=False, replace=False)
    dataset = prepare(experiment.task, experiment.data, run.storage)
    prepared = handed_down.prepared(experiment, dataset)
    record = train_one(prepared.candidates, dataset, prepared.ledger, experiment.training, size=None)
    priced = [
        v.model_copy(update={"usd_per_million_predictions": usd, "p95_ms": 9.0})
        for v, usd in zip(record.variants, (0.2, 0.1), strict=True)
    ]
    record = record.model_copy(update={"variants": priced})
    # As a search would have priced it.
    run.storage.put(f"trials/{record.trial_id}/record.json", record.model_dump_json())
    return run, experiment, dataset, record


@pytest.fixture(scope="module")
def selection(trained) -> Selection:
    run, experiment, dataset, _ = trained
    return select(run, experiment, handed_down.prepared(experiment, dataset))


def export(trained, record: TrialRecord, selection: Selection | None, target: Path):
    _, experiment, dataset, _ = trained
    bundle = export_trial(record, handed_down.export_job(experiment, dataset, selection, Storage(target)))
    assert not (target / "bundle-candidate").exists()
    return bundle, (target / "bundle" / "MODEL_CARD.md").read_text(encoding="utf-8")


def with_predictions_of_another(record: TrialRecord, precision: str, folder: Path) -> TrialRecord:
    """The record as if training had made other predictions at one precision."""
    variants = []
    for variant in record.variants:
        if variant.precision == precision:
            table = pq.read_table(variant.predictions_uri)
            logits = [row[::-1] for row in table["logits"].to_pylist()]
            table = table.set_column(table.column_names.index("logits"), "logits", [logits])
            pq.write_table(table, folder / f"{precision}.parquet")
            variant = variant.model_copy(
                update={"predictions_uri": str(folder / f"{precision}.parquet"), "predictions_sha256": ""}
            )
        variants.append(variant)
    return record.model_copy(update={"variants": variants})


def test_an_int8_winner_is_checked_judged_and_shipped_in_int8(trained, selection, tmp_path):
    assert (selection.winner.precision, selection.test_f1 is not None) == ("int8", True)
    (check,) = selection.precision_checks
    assert check.passed
    bundle, card = export(trained, trained[3], selection, tmp_path)
    assert (bundle.engine, bundle.precision, bundle.note) == ("onnxruntime", "int8", check.reason)
    assert "onnxruntime, int8" in card
    assert "of validation rows" not in card
    assert "rows the prediction of fp32" in card
    opened = open_bundle(tmp_path / "bundle")
    opened.verify_smoke(opened.open_runner())


def test_a_trial_named_by_its_id_is_shipped_at_its_reference(trained, tmp_path):
    bundle, card = export(trained, trained[3], None, tmp_path)
    assert (bundle.engine, bundle.precision, bundle.note) == ("onnxruntime", "fp32", "")
    assert "| Serving |" not in card


def test_int8_that_fails_the_parity_check_is_shipped_in_fp32(trained, selection, tmp_path):
    record = with_predictions_of_another(trained[3], "int8", tmp_path)
    bundle, card = export(trained, record, selection, tmp_path)
    assert (bundle.engine, bundle.precision) == ("onnxruntime", "fp32")
    assert "Not served in int8, in which it won: bundle" in bundle.note
    assert "Not served in int8, in which it won: bundle" in card
    # The test scores were those of int8.
    assert "(test," not in card
    assert "| USD per million predictions | 0.2 " in card


def test_a_model_without_onnx_export_is_shipped_with_torch(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_build, "OPSET", 999)
    bundle, card = export(trained, trained[3], None, tmp_path)
    assert (bundle.engine, bundle.precision) == ("torch", "fp32")
    assert bundle.note.startswith("bert cannot be exported to ONNX")
    assert "bert cannot be exported to ONNX" in card


def test_predictions_that_no_engine_reproduces_are_refused(trained, tmp_path):
    record = with_predictions_of_another(trained[3], "fp32", tmp_path)
    with pytest.raises(BundleError, match=r"the prediction that training measured; at fp32 at least 0\.999"):
        export(trained, record, None, tmp_path)
    assert not (tmp_path / "bundle").exists()
    assert not (tmp_path / "bundle-candidate").exists()
    logits = np.array(pq.read_table(trained[3].variants[0].predictions_uri)["logits"].to_pylist())
    assert np.ptp(logits) > 1.0
