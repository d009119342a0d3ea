"""``lft bench``: load test of an endpoint: throughput and latency."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lft_ray.cli.endpoint import is_url, url_of
from lft_ray.cli.lines import read_lines
from lft_ray.cli.output import guarded, next_command, print_json, print_message, stdout
from lft_ray.cli.pair_inputs import read_pairs
from lft_ray.errors import InputError
from lft_ray.run.folder import RunFolder
from lft_ray.texts import Text
from lft_ray.wire import PAIR_TEXTS

if TYPE_CHECKING:
    from lft_ray.wire import Info

__all__ = ["bench"]

TEXTS = ("Shares fell after the report.", "The team won its last match by two goals.", "A new species was found there.")

QUESTIONS = ("When did shares fall?", "By how many goals did the team win?", "What was found there?")
"""Questions about these texts together."""


@guarded
def bench(
    target: Annotated[str, typer.Argument(help="Run folder with a live endpoint, or its URL.", show_default=False)],
    rates: Annotated[
        list[float] | None, typer.Option("--rate", min=0.1, help="Requests per second; may be repeated.")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1.0, help="Length of each run.")] = 10.0,
    connections: Annotated[int, typer.Option("--connections", min=1, max=2000, help="Maximum connections.")] = 32,
    file: Annotated[str | None, typer.Option("--input", help="File of texts (one a line), pairs or questions.")] = None,
    api_key: Annotated[str | None, typer.Option("--api-key", envvar="LFT_API_KEY", help="Bearer key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON on stdout.")] = False,
) -> None:
    """Load an endpoint at fixed rates; latency counts from the time a request was due. Without --rate, find the
    maximum.

    Example: lft bench runs/news --rate 50 --rate 100
    """
    from lft_ray.client import Client
    from lft_ray.serve.loadgen import load_test

    url = url_of(target)
    if url.lower().startswith("https://"):
        raise InputError("the load generator supports http:// only", fix="bench the endpoint behind the TLS proxy")
    with Client(url, api_key=api_key) as client:
        info = client.info()
    texts = _texts_of(target, info) if file is None else _read(file, info)
    print_message(f"{info.model}, version {info.version}: {len(texts)} texts in rotation, one per request")
    rows = []
    load: dict[str, Any] = {"seconds": seconds, "connections": connections, "api_key": api_key}
    for row in load_test(url, texts, rates=rates or (), answers=info.answers, **load):
        rows.append(row)
        print_message(f"  {'closed loop' if row.rate is None else f'{row.rate:g} per second'}: {row.requests} requests")
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
    else:
        _print([row.model_dump() for row in rows])
    next_command(f"lft bench {target} --rate {max(1.0, round(max(row.requests_per_s for row in rows) / 2))}")


def _read(file: str, info: "Info") -> list[Text]:
    return read_pairs(None, file, "utf-8", {}, info.answers) if info.segments == PAIR_TEXTS else list(read_lines(file))


def _texts_of(target: str, info: "Info") -> list[Text]:
    """Sample texts of the run's data, or a few built-in texts for a URL."""
    dataset = None if is_url(target) else RunFolder.find(target).dataset()
    if dataset is not None and dataset.sample_texts:
        return dataset.sample_texts
    if info.answers == "spans":
        context = " ".join(TEXTS)
        return [(question, context) for question in QUESTIONS]
    return list(zip(TEXTS, [*TEXTS[1:], TEXTS[0]], strict=True)) if info.segments == PAIR_TEXTS else list(TEXTS)


def _print(rows: list[dict[str, object]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("rate / s", "connections", "responses / s", "failed", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(name, justify="right")
    for row in rows:
        rate = "-" if row["rate"] is None else f"{row['rate']:g}"
        keys = ("connections", "requests_per_s", "failed", "p50_ms", "p95_ms", "p99_ms")
        table.add_row(rate, *(str(row[key]) for key in keys))
    stdout().print(table)
