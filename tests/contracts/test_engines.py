"""What every engine does, whatever runs inside."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from lft_ray.config import ModelSpec
from lft_ray.engines import ENGINES
from lft_ray.engines.base import EngineCard
from lft_ray.engines.onnx_build import build_onnx
from lft_ray.errors import BundleError
from lft_ray.models.network import build, save
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import model_sizes
from lft_ray.models.tfidf import TfidfModel
from lft_ray.plugins import resolve
from lft_ray.tasks.classification import Classification

MAX_LENGTH = 12
TEXTS = [
    "the team won the match",
    "stocks fell as the bank raised its interest rate again and again and again, said 3 reports",
    "x",
    "ünïcode 東京 👍🏽 \x00 \ud7ff tabs\tand\nlines",
    "word " * 3000,
]


def make_folder(engine: str, folder: Path, tiny_bert: Path, precision: str = "fp32") -> Path:
    """A folder that the engine opens, with 3 outputs and `MAX_LENGTH`."""
    if engine == "sklearn":
        rows = ["the team won", "stocks fell again", "a funny book"] * 10
        task = Classification(["book", "money", "sport"])
        TfidfModel.fit(rows, np.array([2, 1, 0] * 10), task, 0, max_length=MAX_LENGTH).save(folder)
        return folder
    if engine == "onnxruntime":
        build_onnx(make_folder("torch", folder / "trained", tiny_bert), folder, precision=precision)
        shutil.rmtree(folder / "trained")
        return folder
    spec = ModelSpec(base=str(tiny_bert))
    size = model_sizes([spec])[0]
    card = EngineCard(engine=engine, model_size=size.name, outputs=3, max_length=MAX_LENGTH, pooling=size.pooling)
    save(build(find_base(spec), size, 3), folder, tokenizer_from=tiny_bert, card=card)
    return folder


CASES = [(name, precision) for name in ENGINES for precision in resolve(name, ENGINES, where="").precisions]


BASES = [
    (*case, base) for case in CASES for base in ("tiny_bert", "tiny_electra") if "sklearn" not in case or "bert" in base
]
EXACT = 1e-5
# int8 and bf16 round, and the scale of an int8 activation is that of its whole batch.
TOLERANCE = {"fp32": EXACT, "bf16": 5e-2, "int8": 5e-2}


@pytest.fixture(params=BASES, ids="-".join)
def opened(request, tmp_path):
    name, precision, base = request.param
    engine = resolve(name, ENGINES, where="engine")
    assert engine.name == name
    return engine.open(
        make_folder(name, tmp_path / "m", request.getfixturevalue(base), precision), precision=precision, threads=1
    ), precision


def test_answers_are_finite_float32_one_row_a_text(opened):
    runner, _ = opened
    logits = runner.run(runner.encode(TEXTS))
    assert (logits.shape, logits.dtype) == ((len(TEXTS), 3), np.float32)
    assert np.isfinite(logits).all()


def test_texts_are_cut_to_max_length(opened):
    runner, _ = opened
    assert runner.max_length == MAX_LENGTH
    assert all(len(encoded) <= MAX_LENGTH for encoded in runner.encode(TEXTS))


def test_an_answer_does_not_depend_on_its_batch(opened):
    runner, precision = opened
    encoded = runner.encode(TEXTS)
    together = runner.run(encoded)
    alone = np.concatenate([runner.run([one]) for one in encoded])
    assert np.abs(together - alone).max() < TOLERANCE[precision]
    backwards = runner.run(encoded[::-1])[::-1]
    assert np.abs(together - backwards).max() < TOLERANCE[precision]


def test_opening_twice_answers_the_same(tmp_path, tiny_bert):
    for name, precision in CASES:
        engine = resolve(name, ENGINES, where="engine")
        folder = make_folder(name, tmp_path / f"{name}-{precision}", tiny_bert, precision)
        first, second = (engine.open(folder, precision=precision, threads=1) for _ in range(2))
        assert np.array_equal(first.run(first.encode(TEXTS)), second.run(second.encode(TEXTS)))


@pytest.mark.parametrize("name", ENGINES)
def test_an_unknown_precision_is_refused(name, tmp_path, tiny_bert):
    folder = make_folder(name, tmp_path, tiny_bert)
    with pytest.raises(BundleError, match="int3"):
        resolve(name, ENGINES, where="engine").open(folder, precision="int3", threads=1)


@pytest.mark.parametrize("name", ENGINES)
def test_every_missing_file_is_a_bundle_error(name, tmp_path, tiny_bert):
    engine = resolve(name, ENGINES, where="engine")
    names = [path.name for path in make_folder(name, tmp_path / "whole", tiny_bert).iterdir()]
    for missing in names:
        folder = make_folder(name, tmp_path / missing, tiny_bert)
        (folder / missing).unlink()
        with pytest.raises(BundleError):
            engine.open(folder, precision=engine.precisions[0], threads=1)


@pytest.mark.parametrize("name", ENGINES)
def test_no_engine_folder_holds_a_pickle(name, tmp_path, tiny_bert):
    suffixes = {path.suffix for path in make_folder(name, tmp_path, tiny_bert).iterdir()}
    assert suffixes <= {".json", ".safetensors", ".onnx"}


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_a_folder_is_opened_at_a_shorter_length_than_its_card_says(name, precision, tmp_path, tiny_bert):
    engine = resolve(name, ENGINES, where="engine")
    folder = make_folder(name, tmp_path, tiny_bert, precision)
    short = engine.open(folder, precision=precision, threads=1, max_length=8)
    assert short.max_length == 8
    encoded = short.encode(TEXTS)
    assert max(map(len, encoded)) == 8
    whole = engine.open(folder, precision=precision, threads=1)
    # Short texts are answered alike; the words that are cut away no longer count.
    assert np.array_equal(short.run(short.encode(TEXTS[2:3])), whole.run(whole.encode(TEXTS[2:3])))
    same = engine.open(folder, precision=precision, threads=1, max_length=MAX_LENGTH)
    assert np.array_equal(same.run(same.encode(TEXTS)), whole.run(whole.encode(TEXTS)))
    with pytest.raises(BundleError, match=f"reads at most {MAX_LENGTH} tokens of a text, got {MAX_LENGTH + 1}"):
        engine.open(folder, precision=precision, threads=1, max_length=MAX_LENGTH + 1)
