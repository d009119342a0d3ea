"""``lft status | leaderboard | report | env``: inspect a run or this installation. Never trains or deploys."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from lft_ray.cli.output import guarded, next_command, print_json, print_message, stdout
from lft_ray.run.folder import RunFolder

__all__ = ["env", "leaderboard", "leaderboard_of", "report", "shown", "status"]

Run = Annotated[str, typer.Argument(help="Run folder, such as runs/news.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def shown(uri: str) -> str:
    """Return the path of a run as the user would type it: relative, if it is below the working directory."""
    here = f"{Path.cwd()}{os.sep}"
    return uri.removeprefix(here)


def leaderboard_of(run: RunFolder) -> dict[str, Any]:
    """Return the leaderboard of a run, also of a running search; ``break_even`` is None without a winner."""
    from lft_ray import pipeline

    return pipeline.leaderboard(run)


@guarded
def status(run: Run, as_json: Json = False) -> None:
    """Print the status of a run: trials by status, training cost, completed stages, endpoint.

    Example: lft status runs/news
    """
    from lft_ray import pipeline
    from lft_ray.cli.views import print_status
    from lft_ray.serve.endpoint.handed import is_bundle

    if is_bundle(run):
        _print_bundle_status(run, as_json=as_json)
        return
    found = RunFolder.find(run)
    state = pipeline.status(found)
    if as_json:
        print_json(state)
    else:
        print_status(state, stdout())
    next_command(state["next"])


def _print_bundle_status(bundle: str, *, as_json: bool) -> None:
    from lft_ray.cli.views import serving_line
    from lft_ray.report.status import next_of
    from lft_ray.serve.endpoint.handed import home_of
    from lft_ray.serve.endpoint.look import look

    view = look(home_of(bundle).storage)
    if as_json:
        print_json({"bundle": bundle, "serving": view.model_dump(mode="json") if view else None})
    else:
        typer.echo(f"{view.url}  {serving_line(view.model_dump(mode='json'))}" if view else "no endpoint")
    next_command(next_of(view, bundle, f"lft deploy {bundle}"))


@guarded
def leaderboard(run: Run, as_json: Json = False) -> None:
    """Print the Pareto front of cost and F1, the ladder of model sizes and the winner.

    Example: lft leaderboard runs/news --json
    """
    from lft_ray.cli.views import print_leaderboard

    found = RunFolder.find(run)
    board = leaderboard_of(found)
    if as_json:
        print_json(board)
    else:
        print_leaderboard(board, stdout())
    next_command(f"lft report {shown(found.uri)}" if board["winner"] else f"lft status {shown(found.uri)}")


@guarded
def report(
    run: Run,
    study: Annotated[
        str | None, typer.Option("--study", metavar="URL", help="Optuna storage to which the trials are also written.")
    ] = None,
) -> None:
    """Rewrite the HTML report from the run's records, and print its path.

    Example: lft report runs/news --study sqlite:///news.db
    """
    from lft_ray import pipeline

    found = RunFolder.find(run)
    typer.echo(shown(pipeline.report(found)))
    if study is not None:
        count = pipeline.write_study(found, study)
        print_message(
            f"wrote {count} trials as study {found.experiment().name!r} to {study}; optuna-dashboard {study} shows them"
        )
    next_command(f"lft deploy {shown(found.uri)}")


@guarded
def env(
    schema: Annotated[bool, typer.Option("--schema", help="JSON schema of the experiment file.")] = False,
    models: Annotated[bool, typer.Option("--models", help="The ladder of base models.")] = False,
    prices: Annotated[bool, typer.Option("--prices", help="The price sheet.")] = False,
    as_json: Json = False,
) -> None:
    """Print versions and machine for a bug report, or the schema, the models or the prices.

    Example: lft env --models
    """
    if schema:
        from lft_ray.config import Experiment

        print_json(Experiment.model_json_schema())
        return
    if models or prices:
        _print_table("models" if models else "prices", as_json=as_json)
        return
    from lft_ray.cluster.environment import environment

    facts = environment()
    if as_json:
        print_json(facts)
    else:
        for key, value in facts.items():
            typer.echo(f"{key:24} {value}")


def _print_table(what: str, *, as_json: bool) -> None:
    if what == "models":
        from lft_ray.models.ladder import rows
    else:
        from lft_ray.cost.prices import rows
    table = rows()
    if as_json:
        print_json(table)
        return
    from rich.table import Table

    view = Table(box=None, pad_edge=False)
    for key in table[0]:
        view.add_column(key.replace("_", " "))
    for row in table:
        view.add_row(*("-" if value is None else str(value) for value in row.values()))
    stdout().print(view)
    print_message(f"{len(table)} rows")
