"""``lft import``: make a base model folder of a checkpoint of TensorFlow. Never downloads, never trains."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lft_ray.cli.output import guarded, next_command, print_json, print_line, print_message
from lft_ray.system.text import quoted

if TYPE_CHECKING:
    from lft_ray.models.tensorflow.importing import Imported

__all__ = ["import_model"]

_LISTED = 4
"""Names of variables that are listed; --json has all."""


@guarded
def import_model(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER", help="Folder with bert_model.ckpt.*, bert_config.json and vocab.txt.", show_default=False
        ),
    ],
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Folder to write; default: the folder's name and -hf.")
    ] = None,
    uncased: Annotated[
        bool | None,
        typer.Option("--uncased/--cased", help="Whether texts are lower-cased; default: by name or vocabulary."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the folder of an earlier import.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
) -> None:
    """Import a BERT checkpoint of TensorFlow as a base model, without TensorFlow.

    Example: lft import uncased_L-4_H-256_A-4
    """
    from lft_ray.models.tensorflow.importing import import_checkpoint

    made = import_checkpoint(folder, output, lower=uncased, replace=replace)
    if as_json:
        print_json(made.to_json())
    else:
        _print(made)
    next_command(f"lft search EXPERIMENT.yaml --set {quoted(f'models=[{{base: {_base(made)}}}]')}")


def _print(made: "Imported") -> None:
    net, left = made.net, made.plan
    print_line(
        f"{made.folder}  BERT, {net.layers} layers, hidden size {net.hidden}, {net.vocab:,} tokens, "
        f"{net.params:,} parameters, {made.bytes / 1e6:.3g} MB"
    )
    told = "lower-cased (do_lower_case: true)" if made.casing.lower else "read as they are (do_lower_case: false)"
    print_message(f"texts are {told}: {made.casing.reason}; --cased and --uncased say otherwise")
    if left.optimizer:
        print_message(f"left out {len(left.optimizer):,} variables of the optimizer and of training")
    for names, what in (
        (left.heads, "heads of pre-training or of another task"),
        (left.others, "no part of the network"),
    ):
        if names:
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            print_message(f"left out {len(names):,} variables, {what}: {', '.join(names[:_LISTED])}{more}")
    for note in made.notes:
        print_message(note)


def _base(made: "Imported") -> str:
    """The folder as an experiment names it: with ./ a relative name is never one of the ladder or the hub."""
    path = str(made.folder)
    return path if Path(path).is_absolute() or path.startswith(".") else f".{os.sep}{path}"
