"""``lft status | leaderboard | report | env``: inspect a run or this installation. Never trains or deploys."""

import os
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from lft_ray.cli.output import guarded, next_command, print_json, print_line, print_message, stdout
from lft_ray.errors import TrialsFailedError, UnreachableError
from lft_ray.run.bundle_site import run_or_bundle
from lft_ray.run.folder import RunFolder
from lft_ray.system import signals
from lft_ray.system.text import quoted

__all__ = [
    "check_confirmed", "env", "leaderboard", "leaderboard_of", "leave", "refuse_mostly_failed", "report", "shown",
    "status", "typed",
]  # fmt: skip

Run = Annotated[str, typer.Argument(help="Run folder, such as runs/news.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def shown(uri: str) -> str:
    """Return the path of a run for people: relative, if it is below the working directory."""
    here = f"{Path.cwd()}{os.sep}"
    return uri.removeprefix(here)


def typed(uri: str) -> str:
    """Return the path of a run as the user would type it in a command: relative where it can be, and quoted."""
    return quoted(shown(uri))


def leaderboard_of(run: RunFolder) -> dict[str, Any]:
    """Return the leaderboard of a run, also of a running search; ``break_even`` is None without a winner."""
    from lft_ray import pipeline

    return pipeline.leaderboard(run)


def check_confirmed(run: RunFolder) -> None:
    """Check that failed confirmation runs are not what kept the winner of a finished search from being proven.

    Raises:
        TrialsFailedError: they may be; the winner is written and was shown.
    """
    from lft_ray.selection.coverage import confirmation_trouble

    selection = run.selection()
    if selection is not None and (trouble := confirmation_trouble(selection.verdict, selection.confirmations)):
        raise TrialsFailedError(
            f"{trouble}. The winner, {selection.winner.model_size}, is {selection.verdict.words}",
            fix=f"`lft status {typed(run.uri)}` and the report show the failed runs; `lft deploy {typed(run.uri)}` "
            "serves the winner as it is",
        )


def leave(error: UnreachableError, *, next_line: str) -> NoReturn:
    """End the process because its Ray cluster died and a call into it does not return. Its last words are the error."""
    print_message(f"error: {error}")
    next_command(next_line)
    signals.leave(error.exit_code, is_told=True)
    os._exit(error.exit_code)


def refuse_mostly_failed(run: RunFolder, again: str) -> None:
    """End a search whose trials mostly failed with exit code 5, after its result was shown.

    Raises:
        TrialsFailedError: half of the trials, or more, failed.
    """
    from lft_ray import pipeline
    from lft_ray.selection.coverage import mostly_failed

    if failures := mostly_failed(pipeline.records_of(run)):
        raise TrialsFailedError(
            f"{failures}. The winner was chosen from what was left", fix=f"`{again}` runs them again"
        )


@guarded
def status(run: Run, as_json: Json = False) -> None:
    """Print the status of a run: trials by status, training cost, completed stages, endpoint.

    Example: lft status runs/news
    """
    from lft_ray import pipeline
    from lft_ray.cli.views import print_status

    found = run_or_bundle(run)
    state = pipeline.status(found)
    if as_json:
        print_json(state)
    else:
        print_status(state, stdout())
    next_command(state["next"])


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
    next_command(f"lft report {typed(found.uri)}" if board["winner"] else f"lft status {typed(found.uri)}")


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
    print_line(shown(pipeline.report(found)))
    if study is not None:
        count = pipeline.write_study(found, study)
        print_message(
            f"wrote {count} trials as study {found.experiment().name!r} to {study}; optuna-dashboard {study} shows them"
        )
    next_command(f"lft deploy {typed(found.uri)}")


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
            print_line(f"{key:24} {value}")


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
