import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lft_ray.config import ModelSpec
from lft_ray.errors import BundleError
from lft_ray.export.bundle import ExportPlan, export_bundle
from lft_ray.export.card import CardFacts
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.network import build, save
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import model_sizes
from lft_ray.run.storage import Storage
from lft_ray.serve.api.app import LIMITS
from lft_ray.serve.model.base import ReplicaThreads
from lft_ray.serve.model.open import open_predictor

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", ["linear.safetensors", "predictor.json", "smoke.json", "manifest.json"])
def test_a_damaged_bundle_is_refused(bundles, tmp_path, name):
    folder = tmp_path / "bundle"
    shutil.copytree(bundles["first"].uri, folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError):
        open_predictor(str(folder), ReplicaThreads(1), limits=LIMITS)


def test_no_bundle_is_a_bundle_error(tmp_path):
    with pytest.raises(BundleError, match="no bundle"):
        open_predictor(str(tmp_path / "none"), ReplicaThreads(1), limits=LIMITS)


@pytest.mark.parametrize(("preset", "workers"), [("throughput", 2), ("latency", 1)])
async def test_a_preset_decides_how_many_batches_run_at_a_time(bundles, preset, workers):
    before = threading.active_count()
    predictor = open_predictor(bundles["first"].uri, ReplicaThreads(2, preset), limits=LIMITS)
    assert threading.active_count() - before == workers
    [scores] = await predictor.predict(["goal"])
    assert scores[0].label == "sport"
    await predictor.retire()


def test_bundles_of_the_fixture_differ(bundles):
    assert bundles["first"].version != bundles["second"].version
    assert Path(bundles["first"].uri).is_dir()


def test_a_replica_of_an_onnx_bundle_never_loads_torch(tiny_bert, tmp_path):
    spec = ModelSpec(base=str(tiny_bert))
    (size,) = model_sizes([spec])
    card = EngineCard(engine="torch", model_size="tiny:2", outputs=3, max_length=16, pooling=size.pooling)
    save(build(find_base(spec), size, 3), tmp_path / "trained", tokenizer_from=tiny_bert, card=card)
    plan = ExportPlan(
        precision="int8",
        task_kind="classification",
        labels=["a", "b", "c"],
        samples=["the team won", "stocks fell"],
        card=CardFacts(name="cold"),
    )
    bundle = export_bundle(tmp_path / "trained", plan, Storage(tmp_path), "bundle")
    code = (
        "import asyncio, sys\nimport lft_ray.serve.cluster.deployment\n"
        "from lft_ray.serve.api.app import LIMITS, create_app\n"
        "from lft_ray.serve.model.base import ReplicaThreads\nfrom lft_ray.serve.model.open import open_predictor\n"
        "from lft_ray.serve.rollout.service import Service\nfrom lft_ray.serve.rollout.state import DesiredState\n"
        "service = Service(lambda uri: open_predictor(uri, ReplicaThreads(2), limits=LIMITS))\n"
        "create_app(service)\n"
        "async def predict():\n"
        f"    await service.reconfigure(DesiredState(current={bundle.uri!r}))\n"
        "    return await service.current.predict(['the team'])\n"
        "assert {s.label for s in asyncio.run(predict())[0]} == {'a', 'b', 'c'}\n"
        "print(*({'torch', 'transformers', 'onnx', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.split() == []
