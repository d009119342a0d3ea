"""One model, the same rows, texts a step and epochs: a naive loop, the Hugging Face Trainer and the product's loop.

python benchmarks/train_throughput.py --train FILE [--model minilm:6] [--rounds 3] [--threads 2] [--quick]

FILE: a table with text and label; the sample corpus when left out. Each round runs every contender once, in turn, in a
process of its own, with the round's seed; contenders.py says what each does. ours_pair is two of our trials at once on
one thread each, as a search runs them; its rate is the sum. The rates are of optimiser steps alone, medians of the
rounds; ``whole_s`` is all of a run. Shares of the matmul peak are of one product of the model's shape in the same
precision and threads, measured in each round. The naive loop stops after 80 texts but in the first round, which scores
it. Prints a table and, on the last line, one JSON object. --quick: one round of one epoch, without that score.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from contenders import Job, Measured
from publishing import RESULTS, publish

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parent / "experiments" / "data" / "news.csv"
BF16 = ("hf_best_sdpa", "hf_best_eager", "ours", "ours_pair")
SINGLE = ("peak", "naive", "hf_default", "hf_best_sdpa", "hf_best_eager", "ours")
NAIVE_STEPS = 80
Rounds = dict[str, list[Measured]]


def run(job: Job) -> Measured:
    """Run one contender in a process of its own."""
    command = [sys.executable, str(HERE / "contenders.py"), json.dumps(asdict(job))]
    # Spinning threads of one contender must not take the cores of whatever comes after it.
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | _ENVIRONMENT)
    if done.returncode:
        raise SystemExit(f"{job.contender} failed:\n{done.stderr[-3000:]}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "TOKENIZERS_PARALLELISM": "false"}


def run_pair(job: Job) -> Measured:
    """Two of our trials at once, one thread each."""
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(run, [replace(job, threads=1), replace(job, threads=1, seed=job.seed + 100)]))
    one, other = both
    return replace(
        one,
        samples_per_s=one.samples_per_s + other.samples_per_s,
        tokens_per_s=one.tokens_per_s + other.tokens_per_s,
        gflop_per_s=one.gflop_per_s + other.gflop_per_s,
        peak_mb=one.peak_mb + other.peak_mb,
    )


def run_rounds(job: Job, rounds: int, *, quick: bool) -> Rounds:
    """All contenders in turn, round after round."""
    found: Rounds = {}
    for number in range(rounds):
        for name in (*SINGLE, "ours_pair"):
            # One text at a time takes longer than all others together: its score is of the first seed alone.
            steps = NAIVE_STEPS if name == "naive" and (quick or number) else -1
            mine = replace(job, contender=name.removesuffix("_pair"), seed=number, max_steps=steps)
            measured = run_pair(mine) if name == "ours_pair" else run(mine)
            found.setdefault(name, []).append(measured)
            print(f"round {number} {name:14} {measured.samples_per_s:8.1f} texts/s", file=sys.stderr, flush=True)
    return found


def median(found: Rounds, name: str, field: str) -> float:
    """Median of one field over the rounds."""
    return statistics.median(getattr(measured, field) for measured in found[name])


def share(found: Rounds, name: str) -> float:
    """Median share of the round's own matmul peak."""
    field = "gflop_per_s" if name in BF16 else "samples_per_s"
    pairs = zip(found[name], found["peak"], strict=True)
    return statistics.median(measured.gflop_per_s / getattr(peak, field) for measured, peak in pairs)


def scores(found: Rounds, name: str) -> str:
    """Mean F1 and its range."""
    known = [measured.f1 for measured in found[name] if measured.f1 is not None]
    return f"{statistics.mean(known):.3f} ({min(known):.3f}-{max(known):.3f})" if known else "-"


def table(found: Rounds) -> str:
    """The table, in Markdown."""
    lines = [
        "| contender | texts/s | tokens/s | padding | share of matmul peak | whole run s | F1 mean (range) | peak MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in found:
        if name != "peak":
            values = (median(found, name, field) for field in ("samples_per_s", "tokens_per_s", "padding_share"))
            texts, tokens, padding = values
            lines.append(
                f"| {name} | {texts:.1f} | {tokens:.0f} | {padding:.0%} | {share(found, name):.0%} | "
                f"{median(found, name, 'whole_s'):.1f} | {scores(found, name)} | {median(found, name, 'peak_mb'):.0f} |"
            )
    peak = [f"{median(found, 'peak', f):.0f} GFLOP/s in {p}" for f, p in _PEAKS]
    return "\n".join([*lines, "", f"matmul peak: {', '.join(peak)}"])


_PEAKS = (("gflop_per_s", "bf16"), ("samples_per_s", "fp32"))


def row_of(found: Rounds, job: Job, *, quick: bool) -> dict[str, object]:
    """The JSON row: ratios of rates, ours over theirs, each the median over rounds."""

    def over(*names: str) -> float:
        ratios = [
            mine.samples_per_s / max(theirs)
            for mine, *theirs in zip(
                found["ours"], *[[m.samples_per_s for m in found[name]] for name in names], strict=True
            )
        ]
        return round(statistics.median(ratios), 2)

    return {
        "vs_naive_loop": over("naive"),
        "vs_hf_default": over("hf_default"),
        "vs_hf_best": over("hf_best_sdpa", "hf_best_eager"),
        "matmul_share": round(share(found, "ours"), 3),
        "pair_vs_single": round(
            median(found, "ours_pair", "samples_per_s") / median(found, "ours", "samples_per_s"), 2
        ),
        "model": job.model_size,
        "rows": job.rows,
        "epochs": job.epochs,
        "threads": job.threads,
        "rounds": len(found["ours"]),
        "contenders": {name: [asdict(measured) for measured in runs] for name, runs in found.items()},
        "quick": quick,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", default=str(SAMPLE))
    parser.add_argument("--model", default="minilm:6")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    quick = arguments.quick
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            contender="", train=str(Path(arguments.train).resolve()), rows=480 if quick else 640,
            validation_rows=160 if quick else 480, epochs=1 if quick else 2, batch_size=32, learning_rate=1e-4, seed=0,
            threads=arguments.threads, model_size=arguments.model, folder=folder,
        )  # fmt: skip
        found = run_rounds(job, 1 if quick else arguments.rounds, quick=quick)
    print(table(found))
    publish(row_of(found, job, quick=quick), RESULTS / "train_throughput.jsonl")


if __name__ == "__main__":
    main()
