"""What does the floor under the deviation of a feature change? The product's own trials with the floor and without.

python benchmarks/probe_floor.py --train FILE --validation FILE [--rows 1000] [--size minilm:6] [--seeds 1] [--epochs 2]

Scores of the linear probe and of the fine-tuned network, the largest weight of the probe's head, and the share of
validation texts that int8 and fp32 give the same label. Prints a table and, on the last line, one JSON object.
"""

import argparse
import itertools
import json
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lft_ray.candidates import Candidates
from lft_ray.config import Experiment
from lft_ray.data.prepare import prepare
from lft_ray.records import TrialRecord, TrialResult
from lft_ray.run.storage import Storage
from lft_ray.search.space import start_table
from lft_ray.train.job import TrialJob
from lft_ray.train.loop import probe, probe_cache
from lft_ray.train.trial import run_trial

Spread = Callable[[NDArray[np.float32]], NDArray[np.float64]]


def without_floor(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Deviations, with a lower bound against rounding noise only."""
    return np.maximum(features.std(axis=0, dtype=np.float64), 1e-6)


def main() -> None:
    """Train every seed with and without the floor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True)
    parser.add_argument("--validation", required=True)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--size", default="minilm:6")
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    found = []
    spreads: dict[float, Spread] = {0.0: without_floor, probe.SPREAD_FLOOR: probe._spread}
    with tempfile.TemporaryDirectory() as folder:
        for seed, (floor, spread) in itertools.product(range(args.seeds), spreads.items()):
            vars(probe)["_spread"] = spread
            found.append({"floor": floor, "seed": seed, **trained(Path(folder), args, seed)})
            print("   ".join(f"{name} {value:.4g}" for name, value in found[-1].items()), flush=True)
    print(json.dumps({"benchmark": "probe_floor", "rows": args.rows, "size": args.size, "trials": found}))


def trained(folder: Path, args: argparse.Namespace, seed: int) -> dict[str, float]:
    """Scores of one trial."""
    # Each trial fits its own probe; the tokens are shared, as in a study.
    probe_cache._PROBES.clear()
    probe_cache._FORMAT = uuid.uuid4().hex
    table = pd.read_parquet(args.train)[["text", "label"]].sample(args.rows, random_state=0)
    table.to_csv(folder / "train.csv", index=False)
    pd.read_parquet(args.validation)[["text", "label"]].to_csv(folder / "validation.csv", index=False)
    base, layers = args.size.split(":")
    experiment = Experiment.model_validate(
        {
            "name": "probe-floor",
            "task": {"kind": "classification", "text": "text", "label": "label"},
            "data": {
                "train": str(folder / "train.csv"),
                "validation": str(folder / "validation.csv"),
                "split": {"test": 0},
            },
            "models": [{"base": base, "layers": [int(layers)]}],
            "training": {
                "method": ["full"],
                "learning_rate": args.rate,
                "batch_size": 32,
                "epochs": args.epochs,
                "max_length": 32,
            },
            "export": {"precisions": ["fp32", "int8"]},
        }
    )
    dataset = prepare(experiment.task, experiment.data, Storage(str(folder)))
    candidates = Candidates.of(experiment, dataset)
    config = start_table(candidates.sizes, experiment.training, seed=seed)[0]
    run = folder / str(len(list(folder.iterdir())))
    job = TrialJob.of(candidates, dataset, experiment.training, str(run))
    result = run_trial(job.replace(trial_id="t000", config=config), lambda _: None)
    assert result.status == "done", result.reason
    [fitted] = probe_cache._PROBES.values()
    return {
        "largest_weight": float(np.abs(fitted.weight).max()),
        "probe_f1": result.curve[0].f1,
        "final_f1": result.variants[0].f1,
        "int8_f1": result.variants[1].f1,
        "int8_agreement": agreement(result),
    }


def agreement(result: TrialResult | TrialRecord) -> float:
    """Share of validation texts to which the first two variants give the same label."""
    first, second = (
        np.array(pq.read_table(variant.predictions_uri)["logits"].to_pylist()).argmax(axis=1)
        for variant in result.variants[:2]
    )
    return float((first == second).mean())


if __name__ == "__main__":
    main()
