"""The code blocks of README and docs: Python is executed, YAML is loaded, commands are parsed, and the cheap ones run.

A comment above a block says what it needs: ``<!-- docs-test: run -->`` (a finished run), ``endpoint``, ``example`` (the
package alone), ``pairs`` (an endpoint on pairs: `tests.test_pipeline_pairs` runs these) or ``not-run=REASON``. Without
one, Python blocks that search share one search.
"""

import csv
import importlib.util
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from typer.testing import CliRunner

from lft_ray.cli.app import app
from lft_ray.config import Experiment

REPO = Path(__file__).resolve().parent.parent
EXAMPLE = REPO / "docs" / "examples" / "lft_example_policy"
ADDRESS = "127.0.0.1:8000"
"""The endpoint's address in the pages; blocks are run with that of the one that was started."""

NOT_RUN = {
    "aws": (1, "starts machines that cost money; its `lft` commands are parsed all the same"),
    "signing-key": (1, "needs openssl, which is no part of the project; signatures have tests of their own"),
    "placeholder": (1, "holds an address that the reader has to fill in"),
}
"""Reason -> how many blocks have it, and why."""

CHEAP = {"init", "check", "plan", "env"}
TICKETS = {
    "billing": ["invoice", "refund", "charged", "payment", "receipt"],
    "login": ["password", "account", "locked", "signin", "reset"],
    "shipping": ["parcel", "courier", "late", "delivery", "tracking"],
}
FENCE = re.compile(
    r"(?:^<!-- docs-test: (?P<needs>[^>]+?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    place: str
    language: str
    needs: str
    text: str


def pages() -> list[Path]:
    return [REPO / "README.md", *sorted((REPO / "docs").rglob("*.md"))]


def blocks(language: str) -> list[Block]:
    """Blocks of a language, each text once: the README's Python also stands in the guide."""
    found: dict[str, Block] = {}
    for page in pages():
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start("language")) + 1
            place = f"{page.relative_to(REPO)}:{line}"
            block = Block(place, match["language"], match["needs"] or "", match["text"])
            if block.language == language:
                found.setdefault(block.text, block)
    return list(found.values())


def each(language: str, *, needs: str | None = None) -> Any:
    chosen = [block for block in blocks(language) if needs is None or block.needs == needs]
    return pytest.mark.parametrize("block", chosen, ids=[block.place for block in chosen])


def execute(block: Block, *, address: str = ADDRESS) -> dict[str, Any]:
    """Run a Python block as a script of its own."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(block.text.replace(ADDRESS, address), block.place, "exec"), names)
    return names


def searches(block: Block) -> bool:
    return not block.needs and "run_search" in block.text


def write_tickets(folder: Path) -> None:
    """``tickets.csv``: three topics, told apart by their words."""
    rng = random.Random(0)
    with (folder / "tickets.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["body", "topic"])
        for number in range(150):
            topic = sorted(TICKETS)[number % len(TICKETS)]
            writer.writerow([f"ticket {number}: {' '.join(rng.sample(TICKETS[topic], 2))} please help", topic])


def write_experiment(folder: Path) -> None:
    """``tickets.yaml``: the smallest search there is, so that the pages run in seconds."""
    tree = {
        "name": "tickets",
        "task": {"text": "body", "label": "topic"},
        "data": {"train": "tickets.csv", "split": {"validation": 0.2, "test": 0.2}},
        "models": [{"base": "tfidf"}],
        "search": {"trials": 1, "object_store_mb": 100},
        "selection": {"policy": "best_f1", "confirmation_fraction": 0.0},
        "serve": {"port": 0},
    }
    (folder / "tickets.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A working directory such as the pages assume: some tickets, and the repository's own files."""
    write_tickets(tmp_path)
    for name in ("docs", "experiments", "benchmarks"):
        (tmp_path / name).symlink_to(REPO / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLE))
    return tmp_path


# ---------------------------------------------------------------- all blocks


def test_the_readme_is_one_page():
    assert len((REPO / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_blocks_that_are_not_run_are_listed():
    every = [block for language in ("python", "bash", "yaml", "json") for block in blocks(language)]
    kinds = Counter(block.needs for block in every)
    assert set(kinds) <= {"", "run", "endpoint", "example", "pairs", *(f"not-run={reason}" for reason in NOT_RUN)}
    assert {reason: kinds[f"not-run={reason}"] for reason in NOT_RUN} == {k: n for k, (n, _) in NOT_RUN.items()}


def test_every_fence_names_a_language_that_is_looked_at():
    for page in pages():
        opened = re.findall(r"^```(\w*)\n.*?^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        # The README's drawing is the one block without a language: nothing on GitHub should colour it.
        assert set(opened) <= {"python", "bash", "yaml", "json", "text", *([""] if page.name == "README.md" else [])}


@each("json")
def test_json_blocks_are_json(block):
    json.loads(block.text)


@each("yaml")
def test_yaml_blocks_are_experiments(block, tmp_path):
    """A part of an experiment file is loaded with the rest filled in."""
    rest = {"name": "part", "data": {"train": "tickets.csv"}, "models": [{"base": "tfidf"}]}
    tree = yaml.safe_load(block.text)
    path = tmp_path / "part.yaml"
    path.write_text(yaml.safe_dump(rest | tree), encoding="utf-8")
    loaded = Experiment.load(path)
    assert set(tree) <= set(type(loaded).model_fields)


# ---------------------------------------------------------------- commands


def command_lines(text: str) -> Iterator[list[str]]:
    """Words of each command, without the variables before it; also of commands that are quoted for another shell."""
    for line in text.replace("\\\n", " ").splitlines():
        yield from _commands(shlex.split(line, comments=True))


def _commands(words: list[str]) -> Iterator[list[str]]:
    while words and re.match(r"^[A-Z_]+=", words[0]):
        words = words[1:]
    if words:
        yield words
    for word in words[1:]:
        if " lft " in f" {word} ":
            for inner in re.split(r"&&|;", word):
                yield from _commands(shlex.split(inner))


LFT = sorted({tuple(words) for block in blocks("bash") for words in command_lines(block.text) if words[0] == "lft"})


@pytest.mark.parametrize("words", LFT, ids=" ".join)
def test_lft_commands_parse(words):
    commands = typer.main.get_command(app).commands
    assert words[1] in commands, f"lft has no command {words[1]}"
    # Parses and converts, and does not run; an unknown option or a missing argument raises.
    commands[words[1]].make_context(words[1], list(words[2:]))


def test_there_are_commands_to_parse():
    assert len(LFT) > 20


@each("bash")
def test_other_commands_name_what_is_there(block):
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for words in command_lines(block.text):
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), f"no target {words[1]}"
        elif words[:2] == ["pip", "install"] and words[-1].startswith(project["name"]):
            extras = set(re.findall(r"[\w-]+", words[-1].partition("[")[2]))
            assert extras <= set(project["optional-dependencies"])
        elif words[0] == "python" and words[1].endswith(".py"):
            assert (REPO / words[1]).is_file()


@each("bash", needs="")
def test_cheap_commands_run(block, desk):
    lines = [words for words in command_lines(block.text) if words[0] == "lft" and words[1] in CHEAP]
    if not any(words[1] == "init" for words in lines):
        write_experiment(desk)
    for words in lines:
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, f"{' '.join(words)}\n{result.output}"


# ---------------------------------------------------------------- Python


@each("python", needs="example")
def test_python_that_needs_only_the_package(block, desk):
    execute(block)


@pytest.mark.parametrize(
    "block", [b for b in blocks("python") if not b.needs and not searches(b)], ids=lambda b: b.place
)
def test_python_that_plans(block, desk):
    write_experiment(desk)
    execute(block)


@dataclass(frozen=True)
class Line:
    """A finished run with a live endpoint."""

    folder: Path
    address: str


@pytest.fixture(scope="module")
def line(tmp_path_factory) -> Iterator[Line]:
    """Run the blocks that search, as they stand, and leave the endpoint up for those that need one."""
    from lft_ray import pipeline

    folder = tmp_path_factory.mktemp("tickets")
    write_tickets(folder)
    write_experiment(folder)
    stopped: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        # The block stops its endpoint at its end: put off until the other blocks have used it.
        stop, _ = pipeline.down, patch.setattr(pipeline, "down", stopped.append)
        try:
            (block,) = filter(searches, blocks("python"))
            names = execute(block)
            assert stopped == [names["run"]]
            endpoint = json.loads((folder / "runs" / "tickets" / "endpoint.json").read_text(encoding="utf-8"))
            yield Line(folder, endpoint["url"].removeprefix("http://"))
        finally:
            for run in stopped:
                assert stop(run) is not None


needs_line = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]


class TestLine:
    """Blocks that need a run or an endpoint."""

    pytestmark = needs_line

    @each("python", needs="run")
    def test_python_that_reads_a_run(self, block, line, monkeypatch):
        monkeypatch.chdir(line.folder)
        execute(block)

    @each("python", needs="endpoint")
    def test_python_that_asks_the_endpoint(self, block, line, monkeypatch):
        # The tests keep off the hub, and its client then refuses every address.
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.chdir(line.folder)
        execute(block, address=line.address)

    @pytest.mark.parametrize(
        "block", [b for b in blocks("bash") if "curl" in b.text and b.needs != "pairs"], ids=lambda b: b.place
    )
    @pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
    def test_curl(self, block, line):
        script = block.text.replace(ADDRESS, line.address)
        told = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True, timeout=60).stdout
        assert "error" not in json.loads(told)


# ---------------------------------------------------------------- generated pages and the example package


@pytest.fixture(scope="module")
def generated() -> Any:
    spec = importlib.util.spec_from_file_location("docs_pages", REPO / "docs" / "_build" / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_experiment_page_has_every_key(generated):
    text = generated.experiment_page()

    def paths(model: Any, prefix: str) -> Iterator[str]:
        for name, field in model.model_fields.items():
            yield prefix + name
            if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
                yield from paths(field.annotation, f"{prefix}{name}.")

    keys = [path for path in paths(Experiment, "") if path not in Experiment.model_fields]
    assert len(keys) > 60
    assert [key for key in keys if f"`{key}` {{#{key}}}" not in text] == []


def test_the_command_page_has_every_option(generated):
    text = generated.cli_page()
    for name, command in typer.main.get_command(app).commands.items():
        section = text.partition(f"## lft {name} ")[2].partition("\n## ")[0]
        for parameter in command.params:
            shown = parameter.opts[-1] if parameter.param_type_name == "option" else parameter.name.upper()
            assert shown in section, f"lft {name} {shown}"


def test_included_pages_link_to_what_is_there(generated):
    for name in ("CHANGELOG.md", "benchmarks/README.md", "experiments/LOG.md"):
        for target in re.findall(rf"\]\({generated.SOURCE}([^)]+)\)", generated.included(name)):
            assert (REPO / target.partition("#")[0]).exists(), f"{name} links to {target}"


def test_the_example_package_passes_its_own_tests(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    # In this process, which has torch loaded already: another one would take 6 s to load it.
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:timeout", "-c", os.devnull, "--rootdir", str(EXAMPLE)]
    assert pytest.main([*options, str(EXAMPLE / "tests")]) == pytest.ExitCode.OK
