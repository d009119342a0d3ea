"""``lft quickstart``: the whole line on a shipped corpus, in one command."""

from typing import Annotated

import typer

from lft_ray.cli.output import guarded, print_json, stderr
from lft_ray.cli.runs import leaderboard_of

__all__ = ["quickstart"]


@guarded
def quickstart(
    folder: Annotated[str, typer.Option("--folder", help="Gets the run folder `quickstart`.")] = "runs",
    keep_serving: Annotated[bool, typer.Option("--keep-serving", help="Leave the endpoint up at the end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
) -> None:
    """Tour in five minutes, offline: search a shipped corpus, deploy the winner, ask it three texts, stop it.

    Called again it continues a tour that was interrupted, and replaces one that is finished.

    Example: lft quickstart --folder runs
    """
    from lft_ray.cli.views import print_leaderboard
    from lft_ray.quickstart import tour

    talk = stderr()
    result = tour(
        folder,
        keep_serving=keep_serving,
        console=talk,
        on_winner=lambda run: print_leaderboard(leaderboard_of(run), talk),
    )
    if as_json:
        print_json(result.model_dump(mode="json"))
        return
    for prediction in result.predictions:
        best = prediction.labels[0]
        typer.echo(f"{best.score:6.3f}  {best.label:16}  {prediction.text}")
