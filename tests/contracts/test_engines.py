"""What every engine does, whatever runs inside."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from lft_ray.config import ModelSpec
from lft_ray.engines import ENGINES
from lft_ray.engines.base import EngineCard
from lft_ray.engines.onnx_build import build_onnx
from lft_ray.models.floors import FLOORS
from lft_ray.models.network import build, save
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import model_sizes
from lft_ray.models.tfidf import TfidfModel
from lft_ray.plugins import resolve
from lft_ray.tasks.classification import Classification
from lft_ray.testing.engines import MAX_LENGTH, OUTPUTS, EngineContract


def make_folder(engine: str, folder: Path, tiny_bert: Path, precision: str = "fp32") -> Path:
    """A folder that the engine opens, with `OUTPUTS` outputs and `MAX_LENGTH`."""
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
    card = EngineCard(engine=engine, model_size=size.name, outputs=OUTPUTS, max_length=MAX_LENGTH, pooling=size.pooling)
    save(build(find_base(spec), size, OUTPUTS), folder, tokenizer_from=tiny_bert, card=card)
    return folder


OTHERS = {floor.engine for floor in FLOORS.values() if floor.head == "tokens"}
"""Engines of models that answer questions: they do not open a model of labels."""
CASES = [
    (name, precision)
    for name in ENGINES
    if name not in OTHERS
    for precision in resolve(name, ENGINES, where="").precisions
]
BASES = [
    (*case, base) for case in CASES for base in ("tiny_bert", "tiny_electra") if "sklearn" not in case or "bert" in base
]


class TestBuiltInEngines(EngineContract):
    @pytest.fixture(params=BASES, ids="-".join)
    def case(self, request):
        return request.param

    @pytest.fixture
    def engine(self, case):
        engine = resolve(case[0], ENGINES, where="engine")
        assert engine.name == case[0]
        return engine

    @pytest.fixture
    def precision(self, case):
        return case[1]

    @pytest.fixture
    def folder(self, case, request, tmp_path):
        name, precision, base = case
        return make_folder(name, tmp_path / "model", request.getfixturevalue(base), precision)

    def test_no_folder_holds_a_pickle(self, folder):
        assert {path.suffix for path in folder.iterdir()} <= {".json", ".safetensors", ".onnx"}
