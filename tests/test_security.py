"""The threats of SECURITY.md, each with the tests that it names; and those tests that have no better place."""

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lft_ray import pipeline
from lft_ray.cluster.connect import UNAUTHENTICATED_ENV, _check_same
from lft_ray.config import Experiment
from lft_ray.config.experiment import ModelSpec
from lft_ray.errors import InputError, LftError
from lft_ray.models.convert import converted
from lft_ray.models.ladder import LADDER
from lft_ray.models.resolve import find_base
from lft_ray.models.weights import base_state
from tests.serve.conftest import client_of, make_service

ROOT = Path(__file__).parent.parent
CANARY = "canary-7f3a91c2"
ROW = re.compile(r"`(tests/[a-z_/]+\.py)(?:::(\w+))?`")
EXPERIMENT = """
name: canary
task: {kind: classification, text: text, label: label}
data: {train: rows.csv}
models: [{base: tfidf}]
"""
ROWS = [f"a {word} day {number},{label}" for number in range(30) for word, label in (("good", "up"), ("bad", "no"))]


def threat_rows() -> list[str]:
    section = (ROOT / "SECURITY.md").read_text(encoding="utf-8").partition("## Threats and their tests")[2]
    return [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("| ")][1:]


def test_every_threat_names_a_test_that_exists():
    rows = threat_rows()
    assert len(rows) >= 12
    for row in rows:
        named = ROW.findall(row)
        assert named, f"no test is named in: {row}"
        for file, test in named:
            content = (ROOT / file).read_text(encoding="utf-8")
            assert not test or f"def {test}(" in content, f"{file} has no {test}"


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("allow_bin", [False, True])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_pickled_weights_never_run(tmp_path, name, allow_bin):
    fired, base = tmp_path / "fired", tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps(LADDER["minilm"].architecture.to_config()))
    (base / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nword\n")
    (base / name).write_bytes(pickle.dumps(Touch(fired), protocol=2))

    def load() -> None:
        found = find_base(ModelSpec(base=str(base), allow_bin=allow_bin))
        base_state(converted(found.folder, allow_bin=allow_bin), LADDER["minilm"].architecture)

    with pytest.raises(LftError):
        load()
    assert not fired.exists()


def test_no_module_loads_scripts_of_a_hub():
    """`evaluate.load` and ``trust_remote_code`` would run code that a hub sends."""
    for path in (ROOT / "lft_ray").rglob("*.py"):
        content = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(import|from) evaluate\b", content, re.MULTILINE), path
        for forbidden in ("trust_remote_code=True", "weights_only=False", "allow_pickle=True"):
            assert forbidden not in content, path


@pytest.mark.parametrize("address", ["http://169.254.169.254/latest/rows.csv", "ftp://host/rows.csv", "gopher://x/y"])
def test_data_are_never_read_from_an_arbitrary_address(tmp_path, address):
    file = tmp_path / "e.yaml"
    file.write_text(EXPERIMENT.replace("rows.csv", f'"{address}"'))
    experiment = Experiment.load(file)
    with pytest.raises(InputError, match="is a URL, which cannot be read"):
        pipeline.plan(experiment)


def test_cluster_without_tokens_is_refused(monkeypatch):
    monkeypatch.delenv(UNAUTHENTICATED_ENV, raising=False)
    with pytest.raises(InputError, match="lets in everybody"):
        _check_same("node a", ("1", "disabled"), ("1", "disabled"))
    _check_same("node a", ("1", "token"), ("1", "token"))
    monkeypatch.setenv(UNAUTHENTICATED_ENV, "1")
    _check_same("node a", ("1", "disabled"), ("1", "disabled"))


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_labels_of_metrics_never_come_from_requests(anyio_backend):
    service = await make_service()
    async with client_of(service) as http:
        for number in range(40):
            await http.get(f"/{CANARY}/{number}")
            await http.post("/", json={"inputs": f"{CANARY} {number}"}, headers={"x-request-id": f"{CANARY}-{number}"})
        await http.request("DELETE", f"/{CANARY}")
        text = (await http.get("/metrics")).text
    await service.current.retire()
    assert CANARY not in text
    assert len([line for line in text.splitlines() if line and not line.startswith("#")]) < 400


def test_secrets_of_the_environment_reach_no_file_and_no_output(tmp_path):
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *ROWS]))
    (tmp_path / "e.yaml").write_text(EXPERIMENT)
    names = ("HF_TOKEN", "LFT_API_KEYS", "AWS_SECRET_ACCESS_KEY", "LFT_SIGNING_PASSWORD")
    environment = os.environ | {name: f"{CANARY}-{name.lower()}" for name in names} | {"PYTHONPATH": str(ROOT)}
    said = ""
    for command in (["check", "e.yaml"], ["train", "e.yaml"], ["export", "runs/canary", "--trial", "t000"], ["env"]):
        done = subprocess.run(
            [sys.executable, "-m", "lft_ray", *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said += done.stdout + done.stderr
    assert CANARY not in said
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "manifest.json" for path in written)
    assert not [path for path in written if CANARY.encode() in path.read_bytes()]
