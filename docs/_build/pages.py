"""Pages that are made when the site is built, from what the code itself says.

In: the pydantic schema of the experiment file, the typer app, and the Markdown files outside ``docs/``. Out: MkDocs
files. Never imports torch or Ray; never runs a command.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = "https://github.com/lft-ray/lft_ray/blob/main/"
"""Where links to files that are not part of the site lead."""

EXPERIMENT_INTRO = """\
# Experiment file

One YAML file describes an experiment. `lft init` writes one for your data, `lft env --schema` prints this page as a JSON
schema, and `--set a.b=c` overrides any key of any command. Unknown keys are errors, and all mistakes are reported at
once. `extends: other.yaml` at the top takes over the keys of another file.

Only `name`, `data.train` and `models` are required. Where a key takes a list or a range, its values are searched; a
single value is fixed. This page is generated from the code.
"""

CLI_INTRO = """\
# Command line

Results go to stdout, progress and advice to stderr. `--json` prints results as JSON, and every command ends by printing
the next command to type. `LFT_DEBUG=1` shows tracebacks. This page is generated from the code.

| exit code | meaning |
|---|---|
| 0 | success |
| 2 | bad input: a file, a value or a command |
| 3 | the search ended without a model that may be shipped |
| 4 | a cluster, an endpoint or a hub does not respond |
| 5 | there is a winner, but runs failed that it should have been compared by |
| 130, 143, 129 | interrupted by SIGINT, SIGTERM, SIGHUP |
"""


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Add the generated pages to the site."""
    # Inside, so that the tests of the pages need no MkDocs.
    from mkdocs.structure.files import File

    pages = {
        "reference/experiment-file.md": experiment_page(),
        "reference/cli.md": cli_page(),
        "changelog.md": included("CHANGELOG.md"),
        "benchmarks/tables.md": included("benchmarks/README.md"),
        "benchmarks/log.md": included("experiments/LOG.md"),
    }
    for uri, text in pages.items():
        files.append(File.generated(config, uri, content=text))
    figure = REPOSITORY / "benchmarks" / "live_search.svg"
    files.append(File.generated(config, "benchmarks/live_search.svg", abs_src_path=str(figure)))
    return files


# ---------------------------------------------------------------- files outside docs/


def included(name: str) -> str:
    """Text of a Markdown file of the repository, with links to files outside the site made absolute."""
    path = REPOSITORY / name

    def absolute(match: re.Match[str]) -> str:
        target = match["target"]
        if "://" in target or target.startswith("#") or target.endswith(".svg"):
            return match[0]
        inside = (path.parent / target).resolve().relative_to(REPOSITORY)
        return f"]({SOURCE}{inside})"

    return re.sub(r"\]\((?P<target>[^)\s]+)\)", absolute, path.read_text(encoding="utf-8"))


# ---------------------------------------------------------------- the experiment file


def experiment_page() -> str:
    """Every key of an experiment file, from its JSON schema."""
    from lft_ray.config import Experiment

    schema = Experiment.model_json_schema()
    lines = [EXPERIMENT_INTRO, "## Top level", ""]
    sections: list[tuple[str, dict[str, Any], str]] = []
    for name, field in schema["properties"].items():
        part = _object_of(field, schema)
        if part is None:
            lines += _key(name, field, schema, required=name in schema["required"])
        else:
            sections.append((name, part, field.get("description", "")))
    for name, part, text in sections:
        lines += [f"## {name}", "", _prose(text or part.get("description", "")), ""]
        lines += _keys(name, part, schema)
    return "\n".join(lines)


def _keys(prefix: str, part: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    required = part.get("required", [])
    for name, field in part["properties"].items():
        path = f"{prefix}.{name}"
        yield from _key(path, field, schema, required=name in required)
        below = _object_of(field, schema)
        if below is not None:
            yield from _keys(path, below, schema)


def _key(path: str, field: dict[str, Any], schema: dict[str, Any], *, required: bool) -> list[str]:
    kind = f"`{_type(field, schema)}`"
    if required:
        kind += ", required"
    elif "default" in field and _object_of(field, schema) is None:
        kind += f", default `{_value(field['default'])}`"
    text = field.get("description") or _described(field, schema)
    return [f"`{path}` {{#{path}}}", f":   <span class=\"key-type\" markdown>{kind}</span>", "", f"    {_prose(text)}", ""]


def _object_of(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any] | None:
    """The object below a key that is one (alone, or beside null, or in a list), else None."""
    options = [field, *field.get("anyOf", []), *field.get("allOf", [])]
    if "items" in field:
        options.append(field["items"])
    objects = [found for option in options if (found := _resolved(option, schema)).get("properties")]
    others = [option for option in field.get("anyOf", []) if "$ref" not in option and option.get("type") != "null"]
    return objects[0] if len(objects) == 1 and not others else None


def _resolved(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = field.get("$ref", "").rpartition("/")[2]
    return schema["$defs"][name] if name else field


def _described(field: dict[str, Any], schema: dict[str, Any]) -> str:
    return str((_object_of(field, schema) or {}).get("description", ""))


def _type(field: dict[str, Any], schema: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " | ".join(dict.fromkeys(_type(option, schema) for option in field["anyOf"]))
    if "$ref" in field:
        found = _resolved(field, schema)
        return "{" + ", ".join(found["properties"]) + "}" if "properties" in found else _type(found, schema)
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if "const" in field:
        return str(field["const"])
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}), schema)}"
    name = {"integer": "int", "number": "float", "boolean": "bool", "string": "str"}.get(field.get("type", ""), "any")
    return name if field.get("type") != "null" else "null"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _prose(text: str) -> str:
    """A docstring as one Markdown paragraph."""
    return " ".join(text.replace("``", "`").split())


# ---------------------------------------------------------------- the command line


def cli_page() -> str:
    """Every command with its arguments and options, from the typer app."""
    from lft_ray.cli.app import app

    commands: dict[str, Any] = getattr(typer.main.get_command(app), "commands")  # noqa: B009  (of a group)
    lines = [CLI_INTRO]
    for name, command in commands.items():
        lines += _command(name, command)
    return "\n".join(lines)


def _command(name: str, command: Any) -> Iterator[str]:
    # Only what typer's own parser and click share is used here: recent typer no longer builds on click.
    context = command.make_context(f"lft {name}", [], resilient_parsing=True)
    summary, _, example = (command.help or "").partition("Example:")
    yield f"## lft {name} {{#{name}}}\n"
    for paragraph in summary.strip().split("\n\n"):
        yield _prose(paragraph) + "\n"
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    yield "```text"
    yield " ".join([f"lft {name}", *(_shown(one) for one in arguments), "[OPTIONS]"])
    yield "```\n"
    if example:
        yield f"```bash\n{_prose(example)}\n```\n"
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None:
            yield f"`{_shown(parameter) if parameter in arguments else record[0]}`"
            yield f":   {_prose(record[1]).replace('<', '&lt;')}\n"


def _shown(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name += "..." if argument.nargs == -1 else ""
    return name if argument.required else f"[{name}]"
