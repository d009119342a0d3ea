"""What each choice of the training step gains: the step as it is beside the step with one choice undone.

python benchmarks/train_switches.py [--train FILE] [--model minilm:6] [--rounds 7] [--threads 2] [--quick]

All of them live in one process and take the same rows in turn, a window of steps each, round after round in another
order; the ratio is the median over the rounds of their seconds over those of the step as it is. Above 1: the choice
gains. ``compiled``, ``checkpointed`` and ``fused_attention`` are choices that were not made: above 1 says rightly so.
Prints a table and, on the last line, one JSON object.
"""

import argparse
import copy
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contenders import MAX_LENGTH, Job, load_rows
from publishing import RESULTS, publish
from torch import nn
from torch.nn import functional

from lft_ray.config import ModelSpec, TrainingSpec
from lft_ray.data.batches import plan_steps
from lft_ray.data.encode import TokenFile
from lft_ray.models.encoder import Attention
from lft_ray.models.network import TextNetwork, build
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import find_size
from lft_ray.tasks.classification import Classification
from lft_ray.train.device.meter import Meter
from lft_ray.train.device.precision import matmul_precision, training_precision
from lft_ray.train.device.process_group import Group
from lft_ray.train.loop.evaluate import Batching
from lft_ray.train.loop.steps import Stepper
from lft_ray.train.methods.vocabulary import seen_tokens

SAMPLE = Path(__file__).resolve().parent.parent / "experiments" / "data" / "news.csv"
BATCH = 32
RATE = 1e-5


@dataclass(frozen=True, slots=True)
class Ground:
    """What all of them start from."""

    network: TextNetwork
    tokens: TokenFile
    task: Classification
    batching: Batching
    met: Any


class FusedAttention(Attention):
    """The same attention through scaled_dot_product_attention."""

    def forward(self, states: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """As in `Attention`."""
        n, t, hidden = states.shape
        query, key, value = self.qkv(states).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        mask = None if bias is None else bias.to(query.dtype)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).reshape(n, t, hidden))


class Checkpointed(nn.Module):
    """A layer whose activations are computed again in the backward pass."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, states: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """As in `Layer`."""
        from torch.utils.checkpoint import checkpoint

        return checkpoint(self.layer, states, bias, use_reentrant=False)


def stepper(ground: Ground, network: TextNetwork, batching: Batching, *, cut: bool = True) -> Stepper:
    """A step on a copy of the weights; ``cut``: the token table holds only the rows that the data meet."""
    tokens = ground.tokens
    if cut:
        table: Any = network.backbone.tokens
        numbers = np.zeros(table.num_embeddings, dtype=np.uint32)
        numbers[ground.met] = np.arange(len(ground.met))
        tokens = tokens.renumbered(numbers)
        rows = table.weight.detach()[torch.from_numpy(ground.met)]
        network.backbone.tokens = nn.Embedding(rows.shape[0], rows.shape[1], _weight=rows)
        batching = replace(batching, pad_id=int(numbers[batching.pad_id]))
    made = Stepper(network, ground.task, tokens, batching, TrainingSpec())
    made.connect(Group())
    return made


def as_it_is(ground: Ground) -> Stepper:
    """The step of the product."""
    return stepper(ground, copy.deepcopy(ground.network), ground.batching)


def whole_table(ground: Ground) -> Stepper:
    """Train every row of the token table."""
    return stepper(ground, copy.deepcopy(ground.network), ground.batching, cut=False)


def fp32(ground: Ground) -> Stepper:
    """Compute in float32."""
    return stepper(ground, copy.deepcopy(ground.network), replace(ground.batching, dtype="fp32"))


def small_passes(ground: Ground) -> Stepper:
    """Cut a step into passes of at most 512 padded tokens."""
    return stepper(ground, copy.deepcopy(ground.network), replace(ground.batching, micro_batch_tokens=512))


def fused_attention(ground: Ground) -> Stepper:
    """Attend through one fused kernel."""
    network = copy.deepcopy(ground.network)
    for layer in network.backbone.layers:
        layer.attention.__class__ = FusedAttention
    return stepper(ground, network, ground.batching)


def checkpointed(ground: Ground) -> Stepper:
    """Compute activations twice to keep fewer of them."""
    network = copy.deepcopy(ground.network)
    network.backbone.layers = nn.ModuleList([Checkpointed(layer) for layer in network.backbone.layers])
    return stepper(ground, network, ground.batching)


def unfused_adamw(ground: Ground) -> Stepper:
    """Step with the optimizer's loop over tensors."""
    made = as_it_is(ground)
    for group in made.optimizer.param_groups:
        group["fused"], group["foreach"] = False, False
    return made


def compiled(ground: Ground) -> Stepper:
    """Compile the layers with torch.compile."""
    network = copy.deepcopy(ground.network)
    for layer in network.backbone.layers:
        layer.compile(dynamic=True)
    return stepper(ground, network, ground.batching)


CHOICES: dict[str, Callable[[Ground], Stepper]] = {
    "as_it_is": as_it_is,
    "unsorted": as_it_is,
    "fp32": fp32,
    "whole_table": whole_table,
    "small_passes": small_passes,
    "fused_attention": fused_attention,
    "checkpointed": checkpointed,
    "unfused_adamw": unfused_adamw,
    "compiled": compiled,
}


def ground_of(job: Job) -> Ground:
    """Rows, network and batching of all of them."""
    rows = load_rows(job)
    base, layers = job.model_size.split(":")
    spec, size = find_size([ModelSpec(base=base, layers=[int(layers)])], job.model_size)
    network = build(find_base(spec), size, len(rows.labels))
    met = seen_tokens([rows.train, rows.validation], network.pad_id, network.backbone.tokens.num_embeddings)
    batching = Batching(
        MAX_LENGTH, TrainingSpec().micro_batch_tokens, network.pad_id, dtype=training_precision("auto", "cpu")
    )
    return Ground(network, rows.train, Classification(rows.labels), batching, met)


def measure(ground: Ground, *, rounds: int, steps: int, with_compile: bool) -> tuple[dict[str, list[float]], float]:
    """Seconds of each window by choice, and the seconds of compiling."""
    names = [name for name in CHOICES if with_compile or name != "compiled"]
    steppers = {name: CHOICES[name](ground) for name in names}
    lengths = ground.tokens.lengths(MAX_LENGTH)
    meter, compile_s = Meter(), 0.0
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1, rounds):  # Round -1 warms up.
        sorted_rows = plan_steps(lengths, BATCH, seed=0, epoch=max(number, 0))[:steps]
        # The same rows in another company: each step a mix of lengths.
        mixed = np.random.default_rng(number + 1).permutation(np.concatenate(sorted_rows))
        plans = {"unsorted": [mixed[at : at + BATCH] for at in range(0, len(mixed), BATCH)]}
        for name in random.Random(number).sample(names, len(names)):
            begin = time.perf_counter()
            for rows in plans.get(name, sorted_rows):
                steppers[name].take(rows, RATE, meter)
            took = time.perf_counter() - begin
            if number >= 0:
                seconds[name].append(took)
            elif name == "compiled":
                compile_s = took
    return seconds, compile_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", default=str(SAMPLE))
    parser.add_argument("--model", default="minilm:6")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--quick", action="store_true", help="three short rounds, without torch.compile")
    arguments = parser.parse_args()
    quick = arguments.quick
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            contender="", train=str(Path(arguments.train).resolve()), rows=960, validation_rows=480, epochs=1,
            batch_size=BATCH, learning_rate=RATE, seed=0, threads=arguments.threads, model_size=arguments.model,
            folder=folder,
        )  # fmt: skip
        ground = ground_of(job)
        with matmul_precision("cpu"):
            seconds, compile_s = measure(
                ground, rounds=3 if quick else arguments.rounds, steps=4 if quick else 8, with_compile=not quick
            )
    base = seconds["as_it_is"]
    ratios = {
        name: statistics.median(mine / theirs for mine, theirs in zip(values, base, strict=True))
        for name, values in seconds.items()
    }
    print("| choice undone or left out | seconds over those of the step as it is | what it is |\n|---|---|---|")
    for name, ratio in ratios.items():
        note = "Batches of mixed lengths." if name == "unsorted" else CHOICES[name].__doc__
        print(f"| {name} | {ratio:.2f} | {note} |")
    row = {
        "seconds_over_as_it_is": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "window_s_median": round(statistics.median(base), 3), "compile_s": round(compile_s, 1),
        "model": arguments.model, "threads": arguments.threads, "rounds": len(base), "quick": quick,
    }  # fmt: skip
    publish(row, RESULTS / "train_switches.jsonl")


if __name__ == "__main__":
    main()
