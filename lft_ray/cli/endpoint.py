"""``lft export | deploy | rollback | down``: from a chosen trial to an endpoint."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lft_ray.cli.output import guarded, next_command, print_json, print_line, print_message
from lft_ray.cli.runs import shown, typed
from lft_ray.errors import InputError
from lft_ray.run.bundle_site import BundleSite, run_or_bundle
from lft_ray.run.folder import RunFolder
from lft_ray.run.storage import Storage

if TYPE_CHECKING:
    from lft_ray.records import Endpoint

__all__ = ["deploy", "down", "export", "is_url", "rollback", "url_of"]

_HOST_PORT = re.compile(r"([\w.-]+|\[[0-9a-fA-F:.]+\]):\d{1,5}(/.*)?")

Run = Annotated[str, typer.Argument(help="Run folder, such as runs/news.", show_default=False)]
Served = Annotated[str, typer.Argument(help="Run folder, such as runs/news, or a bundle.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a key of the run's experiment.")
]


@guarded
def export(
    run: Run,
    trial: Annotated[str | None, typer.Option("--trial", help="Trial id; default: the winner.")] = None,
    sign: Annotated[
        Path | None, typer.Option("--sign", metavar="KEY", help="Sign the bundle with this private key (PEM).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the verified bundle of the winner (or of a trial): weights, tokenizer, labels, manifest, model card.

    Example: lft export runs/news --trial t003
    """
    from lft_ray import pipeline
    from lft_ray.export.signature import check_key, sign_bundle

    found = RunFolder.find(run)
    if sign is not None:
        check_key(sign)
    bundle = pipeline.export(found, trial_id=trial)
    if sign is not None:
        sign_bundle(Storage(bundle.uri), sign)
    if bundle.note:
        print_message(bundle.note)
    if as_json:
        print_json(bundle.model_dump(mode="json"))
    else:
        print_line(f"{shown(bundle.uri)}  version {bundle.version}, {bundle.bytes / 1e6:.1f} MB, {bundle.model_size}")
    next_command(f"lft deploy {typed(found.uri)}")


@guarded
def deploy(
    run: Served,
    trial: Annotated[str | None, typer.Option("--trial", help="Trial id; default: the winner.")] = None,
    overrides: Set = None,
    address: Annotated[str | None, typer.Option("--address", help="Existing Ray cluster (auto or host:port).")] = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Serve in the foreground; Ctrl-C stops.")] = False,
    canary: Annotated[
        float | None, typer.Option("--canary", help="Fraction of requests routed to the new bundle, such as 0.1.")
    ] = None,
    canary_minutes: Annotated[float | None, typer.Option("--canary-minutes", help="Its length; default 10.")] = None,
    cascade: Annotated[
        str | None,
        typer.Option(
            "--cascade",
            metavar="SMALL,LARGE",
            help="Two trials or sizes; the large one takes what the small one is unsure of.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Serve the winner with Ray Serve; a live endpoint is promoted without downtime. Returns when it is ready.

    Example: lft deploy runs/news --trial t007 --canary 0.1
    """
    from lft_ray import pipeline
    from lft_ray.serve.endpoint.locks import one_command

    found = run_or_bundle(run)
    given = {"serve.rollout.canary_share": canary, "serve.rollout.canary_minutes": canary_minutes}
    overrides = [*(overrides or []), *(f"{key}={value}" for key, value in given.items() if value is not None)]
    pair = _pair(cascade) if cascade is not None else None
    if pair and trial:
        raise InputError("--trial and --cascade cannot be combined")
    if isinstance(found, BundleSite):
        if trial or pair:
            raise InputError(f"{run} is a bundle: --trial and --cascade need a run", fix="lft deploy RUN --trial ID")
        from lft_ray.serve.endpoint.of_bundle import deploy_bundle

        endpoint = deploy_bundle(found, overrides=overrides, address=address, foreground=foreground)
        _print_endpoint(endpoint, found, as_json=as_json)
        return
    with one_command(found.storage, "lft deploy", on_wait=_tell_wait):
        endpoint = pipeline.deploy(
            found, trial_id=trial, pair=pair, overrides=overrides, address=address, foreground=foreground
        )
    if pair:
        from lft_ray.selection.reason import cascade_sentence

        print_message(cascade_sentence(found.cascades()[-1]))
    _print_endpoint(endpoint, found, as_json=as_json)


def _tell_wait(holder: object) -> None:
    print_message(f"waiting for {holder}, which is changing this endpoint")


def _pair(text: str) -> tuple[str, str]:
    names = tuple(name.strip() for name in text.split(","))
    if len(names) != 2 or not all(names):
        raise InputError(f"--cascade expects two names, got {text!r}", fix="--cascade minilm:1,minilm:6")
    return names[0], names[1]


@guarded
def rollback(run: Served, as_json: Json = False) -> None:
    """Abort the canary of a live endpoint; without a canary, go back to the previous bundle.

    Example: lft rollback runs/news
    """
    from lft_ray import pipeline

    found = run_or_bundle(run)
    _print_endpoint(pipeline.rollback(found), found, as_json=as_json)


def _print_endpoint(endpoint: "Endpoint", run: RunFolder, *, as_json: bool) -> None:
    """Print the state of an endpoint; exit code 2 if it rejected the bundle."""
    from lft_ray.report.status import words_to_try

    if as_json:
        print_json(endpoint.model_dump(mode="json"))
    else:
        message = f": {endpoint.message}" if endpoint.message else ""
        print_line(f"{endpoint.url}  {endpoint.state}, version {endpoint.version}{message}")
    if endpoint.state == "rejected":
        raise SystemExit(2)
    if endpoint.state == "stopped":
        return
    if endpoint.has_canary:
        next_command(f"lft status {typed(run.typed)}")
    else:
        next_command(f"lft predict {typed(run.typed)} {words_to_try(run)}")


@guarded
def down(run: Served) -> None:
    """Stop the endpoint of a run: its process and its child processes, nothing else.

    Example: lft down runs/news
    """
    from lft_ray import pipeline

    found = run_or_bundle(run)
    endpoint = pipeline.down(found)
    print_message(f"stopped {endpoint.url}" if endpoint else f"{run} has no live endpoint")


def is_url(target: str) -> bool:
    """Whether a target is the URL of an endpoint, and no run."""
    return target.lower().startswith(("http://", "https://"))


def url_of(target: str) -> str:
    """Return the URL of a run's live endpoint, or the URL itself.

    Raises:
        InputError: the run has no live endpoint, its record is damaged, or a URL has no scheme.
        UnreachableError: the endpoint is starting, or its process is gone.
    """
    from lft_ray.serve.endpoint.look import require_live

    if is_url(target):
        return target
    if _HOST_PORT.fullmatch(target) and not Path(target).exists():
        raise InputError(f"{target} is no run; an address begins with http://", fix=f"http://{target}")
    return require_live(run_or_bundle(target).storage).url
