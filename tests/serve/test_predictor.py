import asyncio
import shutil
from pathlib import Path

import pytest

from lft_ray.errors import BundleError
from lft_ray.serve.http import LIMITS
from lft_ray.serve.predictor import open_predictor
from tests.serve.conftest import make_predictor

pytestmark = pytest.mark.anyio


async def test_a_bundle_answers_with_its_labels(bundles):
    predictor = open_predictor(bundles["first"].uri, cores=1, limits=LIMITS)
    [scores], [best] = await predictor.answer(["the bank makes profit"]), await predictor.answer(["goal"], top_k=1)
    await predictor.retire()
    assert scores[0].label == "business"
    assert sum(s.score for s in scores) == pytest.approx(1.0, abs=1e-5)
    assert [s.label for s in best] == ["sport"]
    assert predictor.version == bundles["first"].version
    assert predictor.info.max_batch == LIMITS["max_batch"]


@pytest.mark.parametrize("name", ["linear.safetensors", "predictor.json", "smoke.json", "manifest.json"])
def test_a_damaged_bundle_is_refused(bundles, tmp_path, name):
    folder = tmp_path / "bundle"
    shutil.copytree(bundles["first"].uri, folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError):
        open_predictor(str(folder), cores=1, limits=LIMITS)


def test_no_bundle_is_a_bundle_error(tmp_path):
    with pytest.raises(BundleError, match="no bundle"):
        open_predictor(str(tmp_path / "none"), cores=1, limits=LIMITS)


async def test_retiring_waits_for_the_answers_in_flight():
    predictor = make_predictor(pause_s=0.1)
    asked = asyncio.create_task(predictor.answer(["a"]))
    await asyncio.sleep(0.02)
    await predictor.retire()
    assert asked.done()
    assert len((await asked)[0]) == 3


async def test_a_model_that_hangs_is_unhealthy(monkeypatch):
    monkeypatch.setattr("lft_ray.serve.predictor.STUCK_S", 0.05)
    predictor = make_predictor(pause_s=0.3)
    predictor.check()
    asked = asyncio.create_task(predictor.answer(["a"]))
    await asyncio.sleep(0.15)
    with pytest.raises(RuntimeError, match="no text was answered"):
        predictor.check()
    await asked
    predictor.check()
    await predictor.retire()


def test_bundles_of_the_fixture_differ(bundles):
    assert bundles["first"].version != bundles["second"].version
    assert Path(bundles["first"].uri).is_dir()
