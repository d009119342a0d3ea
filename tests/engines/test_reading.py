"""Questions through the engines: the same rows in torch and onnxruntime, alone and in a batch."""

import numpy as np
import pytest

from lft_ray.config import ModelSpec
from lft_ray.engines.batching import run_sorted
from lft_ray.engines.build import build_folder
from lft_ray.engines.bulk import BulkRunner
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.network import build, save
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import model_sizes
from lft_ray.tasks.questions.layout import WIDTH, candidates_of
from tests.tasks.questions.corpus import rows

TEXTS = [(row["question"], row["context"] * (1 + number % 4)) for number, row in enumerate(rows(12))]


@pytest.fixture(scope="module")
def source(tmp_path_factory, tiny_bert):
    spec = ModelSpec(base=str(tiny_bert))
    size = model_sizes([spec])[0]
    network = build(find_base(spec), size, 2, head="tokens")
    network.head.weight.data *= 40
    card = EngineCard(
        engine="torch",
        model_size="tiny:2",
        outputs=2,
        max_length=40,
        pooling=network.pooling,
        segments=2,
        longest_answer=30,
    )
    folder = tmp_path_factory.mktemp("source")
    save(network, folder, tokenizer_from=tiny_bert, card=card)
    return folder


def rows_of(source, target, precision, engine=None):
    runner = build_folder(source, target, precision=precision, engine=engine).open(threads=1)
    return runner, run_sorted(runner, TEXTS)


def test_engines_agree(source, tmp_path):
    _, torch_rows = rows_of(source, tmp_path / "torch", "fp32", "torch")
    runner, onnx_rows = rows_of(source, tmp_path / "onnx", "fp32")
    assert onnx_rows.shape == (len(TEXTS), WIDTH)
    assert np.abs(onnx_rows - torch_rows).max() < 1e-3
    _, small = rows_of(source, tmp_path / "int8", "int8")
    best = [candidates_of(found)[:, 0, 2] for found in (onnx_rows, small)]
    assert 0 < np.abs(best[0] - best[1]).max() < 0.2 * np.abs(best[0]).max()
    bulk = BulkRunner(runner, workers=2)
    assert np.abs(bulk.run(TEXTS) - onnx_rows).max() < 1e-4
    bulk.close()


def test_a_question_has_the_same_answer_alone_and_in_any_batch(source, tmp_path):
    runner, together = rows_of(source, tmp_path / "onnx", "fp32")
    for number, text in enumerate(TEXTS):
        alone = runner.run(runner.encode([text]))[0]
        assert np.abs(alone - together[number]).max() < 1e-4


def test_places_are_in_the_context(source, tmp_path):
    _, found = rows_of(source, tmp_path / "onnx", "fp32")
    for (_, context), spans in zip(TEXTS, candidates_of(found), strict=True):
        for start, end, _ in spans.tolist():
            assert context[int(start) : int(end)].strip() == context[int(start) : int(end)] != ""


def test_a_shorter_length_reads_the_same_context_in_more_windows(source, tmp_path):
    whole = build_folder(source, tmp_path / "a", precision="fp32").open(threads=1)
    short = build_folder(source, tmp_path / "b", precision="fp32", max_length=24).open(threads=1)
    [one], [other] = whole.encode(TEXTS[3:4]), short.encode(TEXTS[3:4])
    assert len(one.windows) < len(other.windows)
    assert one.windows[-1].part.ends[-1] == other.windows[-1].part.ends[-1]


def test_a_text_without_a_question_is_read_as_a_context(source, tmp_path):
    runner, _ = rows_of(source, tmp_path / "onnx", "fp32")
    assert np.isfinite(runner.run(runner.encode(["only a text"]))).all()
