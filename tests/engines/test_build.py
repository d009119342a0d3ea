"""Choice of the engine for a trained folder, and the folder that is built for it."""

import numpy as np
import pytest

from lft_ray.engines.build import build_folder, serving_engine
from lft_ray.errors import BundleError
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.tfidf import TfidfModel
from lft_ray.tasks.classification import Classification


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    folder = tmp_path_factory.mktemp("linear")
    task = Classification(["a", "b"])
    TfidfModel.fit(["good fine", "bad poor"] * 5, np.array([0, 1] * 5), task, 0, max_length=16).save(folder)
    return folder


@pytest.mark.parametrize(
    ("trained", "precision", "device", "expected"),
    [
        ("torch", "fp32", "cpu", "onnxruntime"),
        ("torch", "int8", "cpu", "onnxruntime"),
        ("torch", "bf16", "cpu", "torch"),
        ("torch", "fp32", "cuda", "torch"),
        ("sklearn", "fp32", "cpu", "sklearn"),
        ("my.module:Engine", "fp32", "cpu", "my.module:Engine"),
    ],
)
def test_serving_engine_runs_networks_on_cores_in_onnxruntime(trained, precision, device, expected):
    assert serving_engine(trained, precision, device=device) == expected


def test_build_folder_copies_and_shortens_a_linear_model(linear, tmp_path):
    built = build_folder(linear, tmp_path / "out", precision="fp32", max_length=8)
    assert (built.card.max_length, built.note) == (8, "")
    assert EngineCard.read(tmp_path / "out") == built.card
    assert EngineCard.read(linear).max_length == 16
    runner = built.open(threads=1)
    assert runner.run(runner.encode(["good"])).argmax() == 0


def test_build_folder_does_not_write_through_a_linked_card(linear, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for path in linear.iterdir():
        (source / path.name).symlink_to(path)
    build_folder(source, tmp_path / "out", precision="fp32", max_length=8)
    assert EngineCard.read(linear).max_length == 16


def test_build_folder_rejects_a_precision_that_the_engine_lacks(linear, tmp_path):
    with pytest.raises(BundleError, match="engine sklearn has no precision 'int8'"):
        build_folder(linear, tmp_path / "out", precision="int8")
    assert not (tmp_path / "out").exists()
