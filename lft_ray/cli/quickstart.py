"""``lft quickstart``: the whole pipeline on a bundled corpus, in one command."""

from typing import Annotated

import typer

from lft_ray.cli.output import guarded, print_json, print_line, stderr
from lft_ray.cli.runs import check_confirmed, leaderboard_of
from lft_ray.run.folder import RunFolder

__all__ = ["quickstart"]


@guarded
def quickstart(
    folder: Annotated[str, typer.Option("--folder", help="Parent of the run folder `quickstart`.")] = "runs",
    keep_serving: Annotated[bool, typer.Option("--keep-serving", help="Leave the endpoint running.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
) -> None:
    """Run a five-minute tour, offline: search a bundled corpus, deploy the winner, predict three texts, stop it.

    A repeated call continues an interrupted tour, and replaces a finished one.

    Example: lft quickstart --folder runs
    """
    from lft_ray.cli.views import print_leaderboard
    from lft_ray.quickstart import tour

    messages = stderr()
    result = tour(
        folder,
        keep_serving=keep_serving,
        console=messages,
        on_winner=lambda run: print_leaderboard(leaderboard_of(run), messages),
    )
    if as_json:
        print_json(result.model_dump(mode="json"))
    for prediction in result.predictions if not as_json else []:
        best = prediction.labels[0]
        print_line(f"{best.score:6.3f}  {best.label:16}  {prediction.text}")
    check_confirmed(RunFolder.find(result.run))
