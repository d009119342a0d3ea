"""The ``lft`` command. Each command loads a file, calls one function of the pipeline and prints its record.

The pipeline is imported inside the commands, so that ``lft --help`` imports neither torch nor Ray.
"""

import shlex
from typing import Annotated

import typer

from lft_ray.cli import bench, data, endpoint, plan, predict, quickstart, runs
from lft_ray.cli.output import guarded, next_command, print_json, stderr, stdout
from lft_ray.cli.process import run
from lft_ray.system import signals

__all__ = ["main"]

app = typer.Typer(
    name="lft",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="From labelled text to the cheapest small language model that keeps its F1, deployed on Ray.",
    epilog="Exit codes: 0 ok, 2 bad input, 3 no winner, 4 unreachable, 5 trials failed, 130 interrupted. "
    "LFT_DEBUG=1 shows tracebacks.",
)

File = Annotated[str, typer.Argument(help="Experiment file, such as experiments/news.yaml.", show_default=False)]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override one key; may be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]

# Listed first in `lft --help`: the first command for a new user.
app.command()(quickstart.quickstart)


@app.command()
@guarded
def search(
    file: File,
    overrides: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run; finished work is not repeated.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Delete the run of this name first.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Continue the run, and run its failed trials again.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Search for the cheapest model that keeps its F1: profile, train, select, report.

    Example: lft search experiments/news.yaml --set search.trials=8
    """
    from functools import partial

    from lft_ray.cli.views import print_leaderboard
    from lft_ray.cluster.watch import CoreLostError, when_stuck
    from lft_ray.config import Experiment
    from lft_ray.errors import StorageError, UnreachableError
    from lft_ray.pipeline import run_search

    experiment = Experiment.load(file, overrides)
    options = [word for item in overrides or [] for word in ("--set", item)]
    # Printed however the command is interrupted; without a run folder there is nothing to resume.
    again = shlex.join(["lft", "search", file, *options, "--resume"])
    signals.say_at_end(f"next: {again}")
    try:
        with when_stuck(partial(runs.leave, next_line=again)):
            found = run_search(experiment, resume=resume, replace=replace, retry_failed=retry_failed, console=stderr())
    except CoreLostError as error:
        runs.leave(error, next_line=again)
    except (StorageError, UnreachableError):
        next_command(again)
        raise
    if as_json:
        print_json(runs.leaderboard_of(found))
    else:
        print_leaderboard(runs.leaderboard_of(found), stdout())
    runs.refuse_mostly_failed(found, f"{again} --retry-failed")
    runs.check_confirmed(found)
    next_command(f"lft deploy {runs.typed(found.uri)}")


@app.command()
@guarded
def train(
    file: File,
    size: Annotated[
        str | None, typer.Option("--size", help="Model size, such as minilm:3; default: the largest.")
    ] = None,
    overrides: Set = None,
    replace: Annotated[bool, typer.Option("--replace", help="Delete the run of this name first.")] = False,
    as_json: Json = False,
) -> None:
    """Train the default configuration of one model size, without a cluster.

    Example: lft train experiments/news.yaml --size minilm:3 --set training.learning_rate=2e-4
    """
    from lft_ray.cli.views import print_trial
    from lft_ray.config import Experiment
    from lft_ray.pipeline import run_train

    found, record = run_train(Experiment.load(file, overrides), size=size, replace=replace)
    if as_json:
        print_json(record.model_dump(mode="json"))
    else:
        print_trial(record, stdout())
    next_command(f"lft export {runs.typed(found.uri)} --trial {record.trial_id}")


app.command()(data.init)
app.command()(data.check)
app.command()(plan.plan)
app.command()(runs.status)
app.command()(runs.leaderboard)
app.command()(runs.report)
app.command()(endpoint.export)
app.command()(endpoint.deploy)
app.command()(bench.bench)
app.command()(endpoint.rollback)
app.command()(predict.predict)
app.command()(endpoint.down)
app.command()(runs.env)


def main() -> None:
    """Run the command as a process of its own; `lft_ray.cli.entry` does so before it imports this module."""
    run(lambda: app)
