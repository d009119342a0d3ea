"""LiteRT models: only what predicts as the trained network does, and named errors for all that cannot become one."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lft_ray.cli.app import app
from lft_ray.config import Experiment
from lft_ray.errors import BundleError
from lft_ray.export import litert
from lft_ray.export.parity import ParityError
from lft_ray.models.network import load
from lft_ray.models.tokens import TextTokenizer
from lft_ray.pipeline import run_train
from lft_ray.run.folder import RunFolder
from lft_ray.run.ledger import Ledger

WORDS = {"sport": ["match", "coach", "goal"], "money": ["bank", "market", "stocks"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_bert) -> RunFolder:
    """A run with two trained trials: t000 is a network, t001 a linear model."""
    folder = tmp_path_factory.mktemp("litert")
    rows = [f"the {words[n % 3]} was near {n},{label}" for n in range(60) for label, words in WORDS.items()]
    (folder / "rows.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    experiment = Experiment(
        name="phone",
        data={"train": str(folder / "rows.csv"), "split": {"validation": 0.3, "test": 0.2}},
        models=[{"base": str(tiny_bert), "layers": [1]}, {"base": "tfidf"}],
        training={"learning_rate": 1e-2, "batch_size": 8, "epochs": 2, "max_length": 16, "precision": "fp32"},
        storage=str(folder / "runs"),
    )
    run_train(experiment, size=f"{tiny_bert}:1")
    found, _ = run_train(experiment, size="tfidf")
    return found


def export(run: RunFolder, *arguments: str):
    return CliRunner().invoke(app, ["export", run.uri, "--format", "litert", *arguments])


def folder_of(run: RunFolder) -> Path:
    return Path(run.uri) / "exports" / "t000-litert"


def test_without_the_converter_the_error_says_how_to_get_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    done = export(run, "--trial", "t000")
    assert done.exit_code == 2
    assert "needs the packages litert-torch and ai-edge-litert" in done.stderr
    assert "pip install 'lft-ray[tensorflow]'" in done.stderr
    assert not folder_of(run).exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--trial", "t001"], "t001 is tfidf, a linear model"),
        (["--trial", "t009"], "no finished trial 't009'"),
        (["--trial", "t000", "--sign", "key.pem"], "--sign is for bundles"),
        (["--trial", "t000", "--format", "litter"], "expected one of bundle, litert. Did you mean 'litert'?"),
    ],
)
def test_what_cannot_be_exported_is_told(run, arguments, words):
    done = export(run, *arguments)
    assert done.exit_code == 2
    assert words in done.stderr


@pytest.fixture
def converter():
    """Skips where the converter is not installed; it cannot be, beside some packages of the tests."""
    pytest.importorskip(
        "litert_torch", reason="needs LiteRT's converter: pip install 'lft-ray[tensorflow]'", exc_type=Exception
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_model_on_its_own_predicts_as_the_network(run, converter, monkeypatch):
    done = export(run, "--trial", "t000", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    card = json.loads((folder_of(run) / "litert.json").read_text())
    assert told == {"uri": str(folder_of(run)), **card}
    assert sorted(path.name for path in folder_of(run).iterdir()) == ["litert.json", "model.tflite", "tokenizer.json"]
    assert (card["parity_agreement"], card["labels"], card["max_length"]) == (1.0, ["money", "sport"], 16)
    assert card["parity_largest_logit_change"] < 1e-4
    from ai_edge_litert.interpreter import Interpreter

    # As a phone would: no module of this package but the tokenizer's.
    signature = Interpreter(model_path=str(folder_of(run) / "model.tflite")).get_signature_runner()
    network = load(Path(Ledger(run.storage).ended("t000").checkpoint_uri)).eval()
    for text in ("the coach", "a bank and a market and more stocks than any market ever had in one day", ""):
        [ids] = TextTokenizer(folder_of(run)).encode([text], 16)
        row, mask = np.full((1, 16), card["pad_id"], np.int32), np.zeros((1, 16), np.int32)
        row[0, : len(ids)], mask[0, : len(ids)] = ids, 1
        import torch

        with torch.no_grad():
            expected = network(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.int64)).numpy()
        np.testing.assert_allclose(signature(input_ids=row, attention_mask=mask)["logits"], expected, atol=1e-4)

    def other(path: Path):
        return lambda ids, mask: np.array([[9.0, -9.0]], np.float32)

    before = (folder_of(run) / "model.tflite").read_bytes()
    monkeypatch.setattr(litert, "_runner", other)
    refused = export(run, "--trial", "t000")
    assert refused.exit_code == 2
    assert "the LiteRT model" in refused.stderr
    assert (folder_of(run) / "model.tflite").read_bytes() == before


@pytest.mark.parametrize(("factor", "error"), [(-1.0, ParityError), (1.02, BundleError)])
def test_another_prediction_or_logit_is_refused(run, monkeypatch, factor, error):
    """The gate itself, without the converter: the network takes the place of the converted model."""
    import torch

    from lft_ray.models.engine_card import EngineCard

    checkpoint = Path(Ledger(run.storage).ended("t000").checkpoint_uri)
    network, card, dataset = load(checkpoint).eval(), EngineCard.read(checkpoint), run.dataset()

    def runner(scale: float):
        def run_one(ids, mask):
            with torch.no_grad():
                return scale * network(torch.from_numpy(ids).long(), torch.from_numpy(mask).long()).numpy()

        return lambda path: run_one

    texts = [f"the {word} was near" for words in WORDS.values() for word in words]
    monkeypatch.setattr(litert, "_runner", runner(1.0))
    report, change = litert._checked(network, checkpoint, card, texts, dataset)
    assert (report.agreement, report.texts) == (1.0, 6)
    assert change < 1e-5
    monkeypatch.setattr(litert, "_runner", runner(factor))
    with pytest.raises(error, match="the LiteRT model"):
        litert._checked(network, checkpoint, card, texts, dataset)
