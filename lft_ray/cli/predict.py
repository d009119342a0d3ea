"""``lft predict``: texts, or pairs of texts, to labels, by an endpoint or by a bundle in this process."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from lft_ray.cli.endpoint import is_url, url_of
from lft_ray.cli.lines import read_lines
from lft_ray.cli.output import guarded, print_json, print_json_line, print_line, print_message
from lft_ray.cli.pair_inputs import is_table, read_pairs
from lft_ray.errors import InputError
from lft_ray.run.bundle_site import is_bundle
from lft_ray.run.folder import RunFolder
from lft_ray.run.storage import Storage
from lft_ray.run.trouble import naming_storage_errors
from lft_ray.texts import Text, is_blank
from lft_ray.wire import PAIR_TEXTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lft_ray.wire import LabelScore

__all__ = ["predict"]


@guarded
def predict(
    target: Annotated[str, typer.Argument(help="Run folder with a live endpoint, or its URL; a bundle with --output.")],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts; default: lines of stdin.")] = None,
    file: Annotated[
        str | None,
        typer.Option("--input", help="One text per line; with --output, or for pairs: CSV, TSV, JSONL or Parquet."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", help="Parquet file: predict --input in this process, without an endpoint."),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Text column of --input; default: detected.")] = None,
    text_a: Annotated[str | None, typer.Option("--text-a", help="Of pairs: column of the first text.")] = None,
    text_b: Annotated[str | None, typer.Option("--text-b", help="Of pairs: column of the second text.")] = None,
    encoding: Annotated[
        str, typer.Option("--encoding", help="Encoding of --input or stdin, such as cp1252.")
    ] = "utf-8",
    top_k: Annotated[int | None, typer.Option("--top-k", min=1, help="Return only the k best labels.")] = None,
    api_key: Annotated[str | None, typer.Option("--api-key", envvar="LFT_API_KEY", help="Bearer key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per text.")] = False,
) -> None:
    """Predict texts with an endpoint: one line per text with its label and score, or JSON lines.

    A model on pairs takes the texts two by two, lines with a tab between the two, or a table as --input.
    With --output, the run's bundle predicts a whole file on this machine, on all cores; a repeated call resumes.

    Example: lft predict runs/news "Shares fell after the report"
    """
    names = {"text_a": text_a, "text_b": text_b}
    columns = names if set(names.values()) != {None} else None
    _check_options(texts, file, output, text, top_k)
    if columns and text is not None:
        raise InputError("--text and --text-a or --text-b cannot be combined", fix="pairs have --text-a and --text-b")
    if output is not None:
        _predict_file(target, file, output, columns or text, encoding, as_json=as_json)
        return
    from lft_ray.client import Client

    with Client(url_of(target), api_key=api_key) as client:
        if client.info().segments == PAIR_TEXTS:
            inputs = read_pairs(texts, file, encoding, names)
        else:
            inputs = _read_texts(texts, file, encoding, columns)
        blank = [_is_blank(one) for one in inputs]
        if all(blank):
            raise InputError("no text given: every text is blank", fix="pass a text")
        # A blank line keeps its place in the answers, and has no label.
        asked = [one for one, skipped in zip(inputs, blank, strict=True) if not skipped]
        answers = iter(client.predict(asked, top_k=top_k))
    predictions = [[] if skipped else next(answers) for skipped in blank]
    if any(blank):
        print_message(f"{sum(blank):,} of {len(inputs):,} texts are blank and have no label")
    for one, scores in zip(inputs, predictions, strict=True):
        _print(one, scores, as_json=as_json)


def _is_blank(one: Text) -> bool:
    return any(map(is_blank, (one,) if isinstance(one, str) else one))


def _read_texts(
    texts: list[str] | None, file: str | None, encoding: str, columns: Mapping[str, str | None] | None
) -> list[Text]:
    if columns:
        raise InputError("--text-a and --text-b are for a model on pairs, and this one reads single texts")
    if file is not None and is_table(file) and not file.lower().endswith((".parquet", ".pq")):
        told = f"every line of {file} is read as one text, also its header"
        print_message(f"note: {told}; --output FILE.parquet reads its text column")
    return list(texts or read_lines(file, encoding))


def _print(one: Text, scores: "Sequence[LabelScore]", *, as_json: bool) -> None:
    if as_json:
        named = {"text": one} if isinstance(one, str) else {"text_a": one[0], "text_b": one[1]}
        print_json_line({**named, "labels": [score.model_dump() for score in scores]})
    elif scores:
        told = one if isinstance(one, str) else " | ".join(one)
        print_line(f"{scores[0].score:6.3f}  {scores[0].label:16}  {told}")
    else:
        print_line(f"{'-':>6}  {'(blank)':16}")


def _check_options(
    texts: list[str] | None, file: str | None, output: str | None, text: str | None, top_k: int | None
) -> None:
    """Refuse options that would be ignored: the user would take the answer for that of another question."""
    if texts and (file is not None or output is not None):
        other = "--input" if file is not None else "--output"
        raise InputError(f"texts and {other} cannot be combined", fix="put the texts into the file of --input")
    if output is not None and top_k is not None:
        fix = "leave --top-k out: the column scores has the scores of all labels"
        raise InputError("--top-k cannot be combined with --output", fix=fix)
    if output is None and text is not None:
        fix = "add --output FILE.parquet, which predicts the rows of a table"
        raise InputError("--text needs --output: without it, every line of --input is one text", fix=fix)


def _predict_file(
    target: str,
    file: str | None,
    output: str,
    text: str | Mapping[str, str | None] | None,
    encoding: str,
    *,
    as_json: bool,
) -> None:
    from lft_ray import pipeline
    from lft_ray.export.batch_predict import predict_file

    if file is None:
        raise InputError("--output needs --input FILE", fix="lft predict RUN --input rows.csv --output out.parquet")
    if is_url(target):
        raise InputError("--output needs a bundle, not an endpoint", fix="pass the run folder or a bundle")
    bundle = target if is_bundle(Storage(target)) else pipeline.bundle_of(RunFolder.find(target)).uri
    with naming_storage_errors(output):
        done = predict_file(bundle, file, output, text=text, encoding=encoding, progress=_print_progress)
    if as_json:
        print_json(done.model_dump(mode="json"))
    else:
        resumed = f", {done.resumed_rows:,} of them by an earlier call" if done.resumed_rows else ""
        print_line(f"{done.output}  {done.rows:,} rows{resumed}, {done.rows_per_s:,.0f} rows/s ({done.engine})")
    for problem in done.warnings:
        print_message(f"warning: {problem.message}")
    if done.blank_rows:
        print_message(f"{done.blank_rows:,} rows have no text: their label and scores are null")


def _print_progress(done: int, rows: int, rows_per_s: float) -> None:
    print_message(f"{done:,} of {rows:,} rows, {rows_per_s:,.0f} rows/s, {(rows - done) / rows_per_s:.0f} s left")
