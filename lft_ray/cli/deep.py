"""``lft check --deep`` and ``--apply``: print suspects and near-duplicates, write their file, apply the fixes."""

from typing import TYPE_CHECKING

from lft_ray.cli.output import next_command, print_json, print_message, stdout
from lft_ray.errors import InputError
from lft_ray.system.paths import resolve
from lft_ray.texts import one_line

if TYPE_CHECKING:
    from lft_ray.config import Experiment
    from lft_ray.data.prepare import Inspected
    from lft_ray.tasks.base import LabelTask, Task
    from lft_ray.train.deep.check import DeepReport

__all__ = ["check_options", "look_deeper", "print_deep", "write_fixes"]

LISTED = 20
"""Suspects shown on the terminal; the file and --json have all."""
LISTED_PAIRS = 5
SHOWN = 90
"""Characters of a text shown on the terminal."""


def check_options(*, deep: bool, output: str | None, apply_file: str | None) -> None:
    """Refuse combinations that would do nothing, and files that would be lost, before any work.

    Raises:
        InputError: see above.
    """
    if deep and apply_file is not None:
        raise InputError("--deep and --apply exclude each other", fix="apply first, then check the files it wrote")
    if apply_file is not None and output is None:
        raise InputError("--apply needs --output", fix="name a folder for the fixed rows: --output fixed")
    if output is not None and not deep and apply_file is None:
        raise InputError("--output needs --deep or --apply", fix="add --deep")
    if deep and output is not None:
        from lft_ray.train.deep.review import check_target

        check_target(resolve(output))


def look_deeper(experiment: "Experiment", inspected: "Inspected", output: str | None) -> "DeepReport":
    """Run the deep check, and write its file where ``output`` names one."""
    from lft_ray.train.deep.check import deep_check
    from lft_ray.train.deep.review import write_review

    report = deep_check(
        inspected.splits,
        _of_labels(inspected.task),
        experiment.models,
        max_length=experiment.training.max_length,
        seed=experiment.data.split.seed,
        log=print_message,
    )
    if output is not None:
        count = write_review(report, resolve(output))
        print_message(f"wrote {output}: {count:,} lines; fill in the column fix")
    return report


def print_deep(report: "DeepReport") -> None:
    """Print the counts, the first suspects and the first near-duplicates."""
    possible = len(report.suspects) - report.likely
    _plain(f"deep check of {report.rows:,} rows, read by {report.features}, seed {report.seed}")
    if report.note:
        _plain(f"note        {report.note}")
    _plain(
        f"suspects    {report.likely:,} labels likely wrong, {possible:,} possibly; the model may be the one in error"
    )
    for one in report.suspects[:LISTED]:
        change = f"{one.label or 'none'} -> {one.suggested or 'none'} ({one.probability:.2f}, {one.certainty})"
        _plain(f"  {one.file}:{one.row} {change}: {one.text[:SHOWN]}")
    if len(report.suspects) > LISTED:
        _plain(f"  {len(report.suspects) - LISTED:,} more: --output FILE or --json lists all")
    if report.not_judged:
        _plain(f"not judged  labels of fewer than 10 texts: {', '.join(report.not_judged[:LISTED])}")
    leaked = ", ".join(f"{count:,} of {split} repeat an earlier split" for split, count in report.leaked.items())
    counts = f"{len(report.near_duplicates):,} rows, {report.conflicting:,} with another label than the row they repeat"
    _plain(f"near-duplicates {counts}" + (f"; {leaked}" if leaked else ""))
    for split, counts_of in report.shared.items():
        told = " and ".join(f"{count:,} of {role}" for role, count in counts_of.items())
        _plain(f"shared      of {split}, {told} occur in an earlier split too, with the same partner or another")
    # Leaks first: they make a score too high.
    pairs = sorted(report.near_duplicates, key=lambda pair: pair.split == pair.other_split)
    for pair in pairs[:LISTED_PAIRS]:
        places = (
            f"{pair.file}:{pair.row} ({pair.split}) repeats {pair.other_file}:{pair.other_row} ({pair.other_split})"
        )
        _plain(f"  {places}, {pair.similarity:.2f}: {pair.text[:SHOWN]}")


def _of_labels(task: "Task") -> "LabelTask":
    """Return the task if its truth is labels, of which wrong ones can be told."""
    from lft_ray.tasks.base import LabelTask

    if not isinstance(task, LabelTask):
        message = f"--deep looks for wrong labels, and task {task.kind} has none"
        raise InputError(message, fix="leave out --deep: lft check looks at the answers themselves")
    return task


def write_fixes(inspected: "Inspected", review: str, output: str, *, file: str, as_json: bool) -> None:
    """Write the rows with the fixes of a review into the folder ``output``, and say how to use it."""
    from lft_ray.train.deep.review import write_fixed

    fixed = write_fixed(resolve(review), inspected.splits, _of_labels(inspected.task), resolve(output))
    if as_json:
        print_json(fixed.model_dump(mode="json"))
    else:
        told = f"{fixed.relabelled:,} rows relabelled, {fixed.removed:,} removed, {fixed.unfixed:,} lines without a fix"
        _plain(f"wrote {', '.join(fixed.files.values())}: {told}")
    chosen = " ".join(f"--set data.{split}={path}" for split, path in fixed.files.items())
    next_command(f"lft check {file} {chosen}")


def _plain(text: str) -> None:
    stdout().print(one_line(text), markup=False, emoji=False, soft_wrap=True)
