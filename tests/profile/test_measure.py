"""Profiles in a real replica, and an endpoint on an existing cluster: both on one local Ray cluster."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from lft_ray.cluster.connect import ClusterHandle, connect
from lft_ray.config import ClusterSpec, DataSpec, Experiment, ExportSpec, ServeSpec, TaskSpec
from lft_ray.data.prepare import prepare
from lft_ray.engines import onnx_build
from lft_ray.errors import InputError, UnreachableError
from lft_ray.models.tokens import TextTokenizer
from lft_ray.profile import session
from lft_ray.profile.measure import _out_of_order, measure_profiles
from lft_ray.profile.replica import build_request_folder, open_request
from lft_ray.profile.requests import profile_requests, skipped_lengths
from lft_ray.records import DatasetRecord, Endpoint, ProfileBook, ServingProfile
from lft_ray.run.storage import Storage
from lft_ray.serve.api.app import LIMITS
from lft_ray.serve.cluster.environment import free_port, import_path
from lft_ray.serve.endpoint.deploy import deploy
from lft_ray.serve.model.base import ReplicaThreads
from tests.handed_down import candidates
from tests.serve.conftest import WORDS

ENGINES = {"fp32": "onnxruntime", "int8": "onnxruntime", "bf16": "torch"}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory, tiny_bert) -> Experiment:
    folder = tmp_path_factory.mktemp("profile")
    rows = [f"{word} number {n},{label}" for n in range(20) for label, words in WORDS.items() for word in words.split()]
    (folder / "train.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    return Experiment(
        name="profile",
        task=TaskSpec(),
        data=DataSpec(train=str(folder / "train.csv")),
        models=[{"base": str(tiny_bert), "layers": [1, 2]}, {"base": "tfidf"}],
        training={"max_length": 32},
        export={"precisions": ["fp32", "int8", "bf16"]},
        storage=str(folder),
    )


@pytest.fixture(scope="module")
def dataset(experiment) -> DatasetRecord:
    return prepare(experiment.task, experiment.data, Storage(experiment.run_uri))


def test_every_variant_is_asked_for_once(experiment, dataset):
    asked = [(r.size.layers, r.precision, r.engine) for r in profile_requests(candidates(experiment, dataset), dataset)]
    assert sorted(asked, key=str) == sorted(
        [(None, "fp32", "sklearn"), *((n, p, e) for n in (1, 2) for p, e in ENGINES.items())], key=str
    )


def test_shorter_lengths_are_asked_for_only_where_they_cut_a_text(experiment, dataset, tiny_bert):
    longest = max(len(ids) for ids in TextTokenizer(tiny_bert).encode(dataset.sample_texts, 32))
    assert 8 < longest < 32

    def asked(length: int) -> tuple[list[tuple[int | None, int]], int]:
        export = ExportSpec(precisions=["fp32"], max_lengths=[8, length])
        spec = experiment.model_copy(update={"export": export})
        found = candidates(spec, dataset)
        requests = profile_requests(found, dataset)
        return [(r.size.layers, r.max_length) for r in requests], len(skipped_lengths(found, requests))

    assert asked(longest) == ([(None, 32), (1, 32), (1, 8), (2, 32), (2, 8)], 1)
    cut = longest - 1
    assert asked(cut) == ([(None, 32), (1, 32), (1, cut), (1, 8), (2, 32), (2, cut), (2, 8)], 0)


def test_a_length_beyond_all_texts_is_skipped_and_said(experiment, dataset, tiny_bert):
    spec = experiment.model_copy(update={"export": ExportSpec(precisions=["fp32"], max_lengths=[16])})
    short = dataset.model_copy(update={"sample_texts": ["bank", "goal"]})
    found = candidates(spec, short)
    requests = profile_requests(found, short)
    assert {r.max_length for r in requests} == {32}
    assert skipped_lengths(found, requests) == [
        f"export.max_lengths: 16 is skipped for {tiny_bert}: no sample text is longer, so it would change nothing"
    ]


def test_more_layers_that_cost_less_are_found(experiment, dataset):
    requests = [
        r for r in profile_requests(candidates(experiment, dataset), dataset) if r.precision == "fp32" and r.size.layers
    ]
    requests.sort(key=lambda request: request.size.layers)
    assert _out_of_order(requests, [profile(1.0, 0.1), profile(0.95, 0.0)]) == []
    assert _out_of_order(requests, [profile(1.0, 0.1), profile(0.8, 0.0)]) == [0, 1]
    assert _out_of_order(requests[::-1], [profile(1.0, 0.1), profile(0.8, 0.0)]) == []


def test_what_cannot_be_exported_is_profiled_with_torch_or_refused(experiment, dataset, monkeypatch):
    requests = {
        r.precision: r for r in profile_requests(candidates(experiment, dataset), dataset) if r.size.layers == 1
    }
    good = build_request_folder(requests["int8"])
    assert (good.engine, good.note, good.refused) == ("onnxruntime", "", "")
    shutil.rmtree(good.folder)
    monkeypatch.setattr(onnx_build, "OPSET", 999)
    exact, rounded = build_request_folder(requests["fp32"]), build_request_folder(requests["int8"])
    assert (exact.engine, exact.refused) == ("torch", "")
    assert exact.note.startswith("bert cannot be exported to ONNX")
    assert (rounded.folder, rounded.refused) == ("", exact.note)
    predictor = open_request(requests["fp32"], exact, ReplicaThreads(2, "latency"), limits=LIMITS)
    assert predictor.info.engine == "torch"
    asyncio.run(predictor.retire())
    shutil.rmtree(exact.folder)


def test_what_is_made_ahead_lies_below_one_folder(experiment, dataset, tmp_path, monkeypatch):
    request = next(r for r in profile_requests(candidates(experiment, dataset), dataset) if r.size.layers == 1)
    # Nothing may be written elsewhere: an interrupt kills who writes, and only that folder is removed after it.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    made = build_request_folder(request, tmp_path)
    assert [path.name for path in Path(made.folder).iterdir()] == ["served"]
    assert Path(made.folder).parent == tmp_path


def test_only_what_a_disk_may_hold_is_made_ahead(experiment, dataset):
    requests = profile_requests(candidates(experiment, dataset), dataset)
    size = 4 * requests[0].size.params + 4 * requests[1].size.params
    assert session._first_within(requests, size) == requests[:2]
    assert session._first_within(requests, size - 1) == requests[:1]
    assert session._first_within(requests, 0) == [r for r in requests[:1] if not r.size.params]


def test_an_address_where_nobody_is_is_unreachable(bundles, tmp_path):
    with pytest.raises(UnreachableError) as raised:
        deploy(tmp_path, bundles["first"], ServeSpec(port=8000), address="127.0.0.1:1")
    assert raised.value.exit_code == 4


def test_a_bundle_that_is_not_there_is_refused_before_the_cluster_is_asked(tmp_path):
    with pytest.raises(InputError, match="no bundle"):
        deploy(tmp_path, str(tmp_path / "none"), ServeSpec(), address="127.0.0.1:1")
    assert not Path(tmp_path / "endpoint.json").exists()


def profile(core_s_per_text: float, spread: float) -> ServingProfile:
    return ServingProfile(
        model_size="a",
        precision="fp32",
        max_length=32,
        engine="torch",
        device="cpu",
        machine="m",
        threads=1,
        core_s_per_text=core_s_per_text,
        texts_per_s=1,
        p50_ms=1,
        p95_ms=1,
        p99_ms=1,
        load_requests_per_s=1,
        peak_bytes=1,
        repeats=3,
        spread=spread,
        texts_measured=1,
    )


# ---------------------------------------------------------------- on a cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterHandle]:
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = import_path()
    with connect(ClusterSpec(), object_store_mb=100) as handle:
        yield handle
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


def haproxies() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if p.name() == "haproxy"]


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_profiles_are_measured_in_a_replica_and_serve_is_gone_after_it(cluster, experiment, dataset):
    from ray.util import list_named_actors

    requests = [
        r
        for r in profile_requests(candidates(experiment, dataset), dataset)
        if r.precision != "bf16" or r.size.layers == 1
    ]
    book = measure_profiles(requests, dataset, ServeSpec(), seconds_per_repeat=0.2)
    assert ProfileBook.model_validate_json(book.model_dump_json()) == book
    assert 0 < book.ingress.core_s_per_request < 0.1
    # In the order that was asked for, whatever the order in which they were measured.
    assert [(p.model_size, p.precision) for p in book.profiles] == [(r.size.name, r.precision) for r in requests]
    engines = ENGINES | {"": "sklearn"}
    assert [p.engine for p in book.profiles] == [engines[r.precision if r.size.layers else ""] for r in requests]
    # A replica without torch is small: what builds the graphs is another process.
    assert max(p.peak_bytes for p in book.profiles if p.engine != "torch") < 300e6
    for measured in book.profiles:
        assert measured.core_s_per_text > 0
        assert 0 < measured.p50_ms <= measured.p95_ms <= measured.p99_ms
        assert measured.texts_measured > 0
        assert measured.peak_bytes > 50e6
        assert measured.machine == book.ingress.machine
    assert list_named_actors(all_namespaces=True) == []
    assert haproxies() == []


DEPLOY = """
import sys
from lft_ray.config import ServeSpec
from lft_ray.serve.endpoint.deploy import deploy, down, rollback
run, bundle, address, port = sys.argv[1:]
if bundle == "before":
    print(rollback(run, wait_s=90).model_dump_json())
elif bundle:
    print(deploy(run, bundle, ServeSpec(port=int(port)), address=address, wait_s=90).model_dump_json())
else:
    print(down(run).model_dump_json())
"""


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_an_existing_cluster_serves_promotes_rejects_and_lets_go(cluster, bundles, tmp_path):
    port = free_port()

    def call(bundle: str) -> Endpoint:
        arguments = [str(tmp_path), bundle, cluster.address, str(port)]
        done = subprocess.run([sys.executable, "-c", DEPLOY, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return Endpoint.model_validate(json.loads(done.stdout.splitlines()[-1]))

    first = call(bundles["first"].uri)
    assert (first.state, first.version, first.address) == ("ready", bundles["first"].version, cluster.address)
    answer = httpx.post(first.url, json={"inputs": "the bank makes profit", "parameters": {"top_k": 1}})
    assert answer.json()[0][0]["label"] == "business"

    second = call(bundles["second"].uri)
    assert (second.state, second.version, second.url) == ("ready", bundles["second"].version, first.url)
    assert second.previous_version == first.version
    assert httpx.get(f"{first.url}/info").json()["version"] == second.version

    # The replicas read copies under their versions, so that the bundle before is there though the run has moved on.
    assert {path.name for path in (tmp_path / "served").iterdir()} == {first.version, second.version}
    back = call("before")
    assert (back.state, back.version, back.previous_version) == ("ready", first.version, second.version)
    assert httpx.get(f"{first.url}/info").json()["version"] == first.version

    assert Path(first.folder).is_dir()
    assert call("").state == "stopped"
    assert not Path(first.folder).exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(first.url)
    assert haproxies() == []
