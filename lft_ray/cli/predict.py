"""``lft predict``: texts or pairs to labels, questions to answers, by an endpoint or by a bundle in this process."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from lft_ray.cli.endpoint import is_url, url_of
from lft_ray.cli.lines import read_lines
from lft_ray.cli.output import guarded, print_json, print_json_line, print_line, print_message
from lft_ray.cli.pair_inputs import is_table, read_pairs, read_question
from lft_ray.errors import InputError
from lft_ray.run.bundle_site import is_bundle
from lft_ray.run.folder import RunFolder
from lft_ray.run.storage import Storage
from lft_ray.run.trouble import naming_storage_errors
from lft_ray.texts import Text, is_blank, one_line
from lft_ray.wire import PAIR_TEXTS, LabelScore, Prediction

if TYPE_CHECKING:
    from lft_ray.client import Client
    from lft_ray.wire import Info, SpanAnswer

__all__ = ["predict"]

Names = Mapping[str, str | None]
"""Role of an input -> what its option was given; None: nothing."""


@guarded
def predict(
    target: Annotated[str, typer.Argument(help="Run folder with a live endpoint, or its URL; a bundle with --output.")],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts; default: lines of stdin.")] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="One text per line; with --output, or for pairs and questions: CSV, TSV, JSON, JSONL or Parquet.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", help="Parquet file: predict --input in this process, without an endpoint."),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Text column of --input; default: detected.")] = None,
    text_a: Annotated[str | None, typer.Option("--text-a", help="Of pairs: column of the first text.")] = None,
    text_b: Annotated[str | None, typer.Option("--text-b", help="Of pairs: column of the second text.")] = None,
    question: Annotated[
        str | None, typer.Option("--question", help="A question; with --input, the column of the questions.")
    ] = None,
    context: Annotated[
        str | None,
        typer.Option("--context", help="Its context, - or default: stdin; with --input, the column of the contexts."),
    ] = None,
    encoding: Annotated[
        str, typer.Option("--encoding", help="Encoding of --input or stdin, such as cp1252.")
    ] = "utf-8",
    top_k: Annotated[
        int | None, typer.Option("--top-k", min=1, help="Return only the k best labels, or the k best answers.")
    ] = None,
    api_key: Annotated[str | None, typer.Option("--api-key", envvar="LFT_API_KEY", help="Bearer key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per text.")] = False,
) -> None:
    """Predict texts with an endpoint: one line per text with its label and score, or JSON lines.

    A model on pairs takes the texts two by two, lines with a tab between the two, or a table as --input.
    A model that answers questions takes --question and --context, or the same forms.
    With --output, the run's bundle predicts a whole file on this machine, on all cores; a repeated call resumes.

    Example: lft predict runs/news "Shares fell after the report"
    """
    names: Names = {"text_a": text_a, "text_b": text_b, "question": question, "context": context}
    _check_options(texts, file, output, text, top_k)
    _check_columns(texts, text, names)
    if output is not None:
        own = {role: name for role, name in names.items() if name is not None}
        _predict_file(target, file, output, own or text, encoding, as_json=as_json)
        return
    from lft_ray.client import Client

    with Client(url_of(target), api_key=api_key) as client:
        info = client.info()
        inputs = _inputs(info, texts, file, encoding, names)
        predictions = _predictions(client, info, inputs, top_k)
    for one, found in zip(inputs, predictions, strict=True):
        _PRINT[info.answers](one, found, as_json=as_json)


def _is_blank(one: Text) -> bool:
    return any(map(is_blank, (one,) if isinstance(one, str) else one))


def _inputs(info: "Info", texts: list[str] | None, file: str | None, encoding: str, names: Names) -> list[Text]:
    """The inputs to ask for, in the form that the model reads."""
    roles = _ROLES.get((info.answers, info.segments), ())
    _refuse_others(names, roles, info)
    if not roles:
        return _read_texts(texts, file, encoding)
    own = {role: names[role] for role in roles}
    if info.answers == "spans" and file is None and set(own.values()) != {None}:
        return [read_question(names["question"], names["context"], encoding)]
    return read_pairs(texts, file, encoding, own, info.answers)


_ROLES: Mapping[tuple[str, int], Sequence[str]] = {
    ("labels", PAIR_TEXTS): ("text_a", "text_b"),
    ("spans", PAIR_TEXTS): ("question", "context"),
}
"""What predictions consist of, and texts of one input -> the options that name its parts."""
_FOR = {"text_a": "a model on pairs", "question": "a model that answers questions"}


def _refuse_others(names: Names, roles: Sequence[str], info: "Info") -> None:
    """Refuse options of another kind of model, which would be ignored."""
    for first, second in (("text_a", "text_b"), ("question", "context")):
        if first in roles or (names[first] is None and names[second] is None):
            continue
        options = f"--{first} and --{second}".replace("_", "-")
        reads = {"question": "answers questions", "text_a": "reads pairs of texts"}.get(
            next(iter(roles), ""), "reads single texts"
        )
        raise InputError(f"{options} are for {_FOR[first]}, and this one {reads} ({info.model})")


def _predictions(client: "Client", info: "Info", inputs: Sequence[Text], top_k: int | None) -> list[Prediction]:
    """A prediction of each input. A blank one keeps its place, and has no label."""
    blank = [_is_blank(one) for one in inputs]
    if all(blank):
        raise InputError("no text given: every text is blank", fix="pass a text")
    asked = [one for one, skipped in zip(inputs, blank, strict=True) if not skipped]
    answers = iter(_ask(client, info, asked, top_k))
    if any(blank):
        lacking = "label" if info.answers == "labels" else "answer"
        print_message(f"{sum(blank):,} of {len(inputs):,} texts are blank and have no {lacking}")
    return [[] if skipped else next(answers) for skipped in blank]


def _ask(client: "Client", info: "Info", asked: Sequence[Text], top_k: int | None) -> Sequence[Prediction]:
    if info.answers == "labels":
        return client.predict(asked, top_k=top_k)
    found = client.answer([one for one in asked if not isinstance(one, str)], top_k=top_k or 1)
    return [one if isinstance(one, list) else [one] for one in found]


def _read_texts(texts: list[str] | None, file: str | None, encoding: str) -> list[Text]:
    if file is not None and is_table(file) and not file.lower().endswith((".parquet", ".pq")):
        told = f"every line of {file} is read as one text, also its header"
        print_message(f"note: {told}; --output FILE.parquet reads its text column")
    return list(texts or read_lines(file, encoding))


def _print_labels(one: Text, scores: "Sequence[LabelScore | SpanAnswer]", *, as_json: bool) -> None:
    labels = [score for score in scores if isinstance(score, LabelScore)]
    if as_json:
        named = {"text": one} if isinstance(one, str) else {"text_a": one[0], "text_b": one[1]}
        print_json_line({**named, "labels": [score.model_dump() for score in labels]})
    elif labels:
        told = one if isinstance(one, str) else " | ".join(one)
        print_line(f"{labels[0].score:6.3f}  {labels[0].label:16}  {told}")
    else:
        print_line(f"{'-':>6}  {'(blank)':16}")


def _print_answers(one: Text, found: "Sequence[LabelScore | SpanAnswer]", *, as_json: bool) -> None:
    answers = [answer for answer in found if not isinstance(answer, LabelScore)]
    question, context = ("", one) if isinstance(one, str) else one
    if as_json:
        told = [answer.model_dump() for answer in answers]
        print_json_line({"question": question, "context": context, "answers": told})
        return
    for answer in answers:
        place = f"{answer.start}:{answer.end}" if answer.answer else "-"
        print_line(f"{answer.score:6.3f}  {place:>11}  {one_line(answer.answer) or '(no answer)':30}  {question}")
    if not answers:
        print_line(f"{'-':>6}  {'-':>11}  {'(blank)':30}")


_PRINT = {"labels": _print_labels, "spans": _print_answers}
"""What predictions consist of -> how one is printed."""


def _check_columns(texts: list[str] | None, text: str | None, names: Names) -> None:
    """Refuse names of columns of two kinds of model, and a question beside texts."""
    if text is not None and set(names.values()) != {None}:
        raise InputError("--text and --text-a or --text-b cannot be combined", fix="pairs have --text-a and --text-b")
    if texts and (names["question"] is not None or names["context"] is not None):
        fix = "give the question and its context by these options alone"
        raise InputError("texts and --question or --context cannot be combined", fix=fix)


def _check_options(
    texts: list[str] | None, file: str | None, output: str | None, text: str | None, top_k: int | None
) -> None:
    """Refuse options that would be ignored: the user would take the answer for that of another question."""
    if texts and (file is not None or output is not None):
        other = "--input" if file is not None else "--output"
        raise InputError(f"texts and {other} cannot be combined", fix="put the texts into the file of --input")
    if output is not None and top_k is not None:
        fix = "leave --top-k out: the file has the scores of all labels, or the best answer"
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
        print_message(f"{done.blank_rows:,} rows have no text: their predictions are null")


def _print_progress(done: int, rows: int, rows_per_s: float) -> None:
    print_message(f"{done:,} of {rows:,} rows, {rows_per_s:,.0f} rows/s, {(rows - done) / rows_per_s:.0f} s left")
