"""The house rules that a machine can check: arrows, circles, lengths, cold imports, names of the package."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "lft_ray"

# Left may be imported by right, never the other way round; names on one line are neighbours without arrows.
LAYERS = [
    {"errors", "processes", "run_paths", "scripts", "strict_json", "texts"},
    {"system"},
    {"wire", "plugins", "config", "causes"},
    {"request_bodies"},
    {"client"},
    {"records"},
    {"run", "cluster"},
    {"tasks"},
    {"models"},
    {"engines"},
    {"data", "cost"},
    {"candidates"},
    {"train"},
    {"selection"},
    {"search"},
    {"plan", "export"},
    {"serve"},
    {"profile", "report"},
    {"pipeline"},
    {"quickstart"},
    {"cli", "testing"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MOST_FILE_LINES = 500
MOST_FUNCTION_LINES = 60
"""Without the docstring. CONTRIBUTING.md states both, and ruff's most arguments."""


def python_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def noun(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("lft_ray."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("lft_ray."))


def test_arrows_point_down():
    against = [
        f"{path.relative_to(PACKAGE)} imports upward or sideways: {target}"
        for path in python_files()
        if (source := noun(path)) not in {"__init__", "__main__"}
        for target in imports(path)
        if target != source and LEVEL[target] >= LEVEL[source]
    ]
    assert not against


MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in python_files()
}


def import_nodes(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports of a module, those in functions and for type checkers included: they hide a circle, no more."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node


def imported_modules(name: str) -> set[str]:
    """Modules of the package that a module names in its imports; the packages above them are not counted."""
    found = set()
    for node in import_nodes(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif node.module:
            inside = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {full if full in MODULES else node.module for full in inside.values()}
    return found & set(MODULES) - {name}


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """Groups of modules that reach each other."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            new = graph[ahead.pop()] - seen
            seen |= new
            ahead += new
        return seen

    reach = {name: reached(name) for name in graph}
    return {frozenset(other for other in reach[name] if name in reach[other]) for name in graph if name in reach[name]}


def test_modules_import_each_other_in_no_circle():
    graph = {name: imported_modules(name) for name in MODULES}
    assert sum(map(len, graph.values())) > len(MODULES)
    found = circles(graph)
    assert not found, [sorted(circle) for circle in found]


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == {frozenset("bc")}


def test_limits_are_told_to_contributors():
    root = PACKAGE.parent
    most_arguments = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]["pylint"]["max-args"]
    told = f"Functions of at most {MOST_FUNCTION_LINES} lines and {most_arguments} arguments"
    assert f"{told}, files of at most {MOST_FILE_LINES} lines" in (root / "CONTRIBUTING.md").read_text()


def test_users_see_the_types():
    assert (PACKAGE / "py.typed").is_file()


def test_every_part_has_a_layer():
    assert {noun(p) for p in python_files()} - {"__init__", "__main__"} <= set(LEVEL)


def test_selection_is_pure():
    for path in (PACKAGE / "selection").glob("*.py"):
        assert not {"search", "train", "cluster"} & set(imports(path)), path.name
        # The stage reads predictions; what decides takes values.
        if path.stem not in {"__init__", "predictions", "held_out"}:
            assert not {"lft_ray.run.storage", "lft_ray.run.folder"} & imported_modules(
                f"lft_ray.selection.{path.stem}"
            ), path.name


def test_client_sees_wire_errors_and_the_way_to_the_network_only():
    assert set(imports(PACKAGE / "client.py")) <= {"wire", "request_bodies", "errors", "system"}
    assert set(imports(PACKAGE / "request_bodies.py")) <= {"wire", "errors"}


def test_files_are_short_and_say_their_place():
    for path in python_files():
        text = path.read_text(encoding="utf-8")
        lines = text.count("\n")
        assert lines <= MOST_FILE_LINES, f"{path} has {lines} lines: which noun is hiding in it?"
        assert ast.get_docstring(ast.parse(text)), f"{path} has no module docstring"


def test_functions_are_short():
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno
                doc = ast.get_docstring(node, clean=False)
                lines -= doc.count("\n") + 1 if doc else 0
                assert lines <= MOST_FUNCTION_LINES, f"{path}:{node.lineno} {node.name} has {lines} lines"


def test_all_names_exist():
    for path in python_files():
        module_name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        declared = [
            ast.literal_eval(n.value)
            for n in tree.body
            if isinstance(n, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in n.targets)
        ]
        if declared and module_name not in {"lft_ray.__main__"}:
            module = importlib.import_module(module_name)
            missing = [name for name in declared[0] if not hasattr(module, name)]
            assert not missing, f"{module_name}.__all__ names {missing}"


def cold(statement: str) -> set[str]:
    """Modules loaded after ``statement`` in a fresh interpreter."""
    code = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(result.stdout.splitlines()[-1].split())


HEAVY = {"torch", "ray", "transformers", "sklearn", "optuna", "datasets", "pandas", "plotly"}


@pytest.mark.parametrize(
    "statement",
    [
        "import lft_ray",
        "import lft_ray.client",
        "import lft_ray.config, lft_ray.config.load, lft_ray.run.folder",
        "import lft_ray.cli.app",
        "import lft_ray.pipeline",
        "import lft_ray.quickstart",
    ],
)
def test_cold_imports_are_light(statement):
    assert not HEAVY & cold(statement)


def test_help_never_loads_the_heavy_libraries():
    code = (
        "import sys\nfrom lft_ray.cli.app import main\nsys.argv = ['lft', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nprint(' '.join(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not HEAVY & set(result.stdout.splitlines()[-1].split())


def test_sklearn_engine_never_loads_torch():
    assert not {"torch", "transformers", "ray"} & cold(
        "import lft_ray.engines.sklearn_engine, lft_ray.engines.batching"
    )


def test_opening_an_onnx_bundle_never_loads_torch():
    modules = (
        "lft_ray.engines.onnx_engine, lft_ray.engines.bulk, lft_ray.export.batch_predict, lft_ray.serve.model.open"
    )
    assert not {"torch", "transformers", "onnx", "ray", "sklearn"} & cold(f"import {modules}, onnxruntime")


WORDS_OF_TASKS = {
    # An experiment file names a metric, and runs and bundles of earlier releases did not.
    "macro_f1": {"config/experiment.py", "config/former.py", "export/bundle.py", "export/card.py"},
    "micro_f1": {"config/experiment.py"},
    "weighted_f1": {"config/experiment.py"},
    # Selections of 0.2.0 and earlier.
    "per_label": {"records/judgement.py", "records/panels.py"},
    "confusion": {"records/judgement.py", "records/panels.py"},
}
"""Word -> files that may use it beside those of tasks, models, engines and training."""
OWNERS = {"tasks", "models", "engines", "train"}


@pytest.mark.parametrize("word", WORDS_OF_TASKS)
def test_a_task_owns_its_words(word):
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in python_files()
        if noun(path) not in OWNERS and re.search(rf"\b{word}\b", path.read_text(encoding="utf-8"))
    }
    assert found == WORDS_OF_TASKS[word]
