"""Seconds a trial above frozen layers, with and without what those layers answered kept on the node.

python benchmarks/frozen_prefix.py [--train ag_news/train.csv] [--max-rows 2000] [--quick]

MiniLM with 6 layers, each number of frozen layers and the head alone, trained by the product's own trial code in one
process. In turns: a trial that computes its frozen layers in every pass (``training.activation_cache_gb: 0``), the
first trial with kept activations, which pays for them, and one after it, which maps them. Processor seconds of whole
trials, checkpoint and variants included; one warm-up trial before. A head trial computes its features once either way,
but keeps them for others only with the store. Prints a table and, on the last line, one JSON object.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from publishing import RESULTS, publish

from lft_ray.candidates import Candidates
from lft_ray.config import Experiment
from lft_ray.data.prepare import prepare
from lft_ray.models.sizes import find_size
from lft_ray.records import DatasetRecord, TrialConfig, TrialResult, TrialStatus
from lft_ray.run.storage import Storage
from lft_ray.train.job import TrialJob
from lft_ray.train.trial import run_trial

REPO = Path(__file__).resolve().parent.parent
SIZE, LAYERS = "minilm:6", 6
WAYS = ("without", "first", "after")


class Bench:
    """Runs trials of one experiment in one run folder."""

    def __init__(self, experiment: Experiment, dataset: DatasetRecord, folder: str) -> None:
        self.experiment, self.dataset, self.folder = experiment, dataset, folder
        self.count = 0

    def run(self, frozen: int, *, kept_gb: float, seed: int, run: str) -> TrialResult:
        """Train one configuration to its end; ``frozen`` layers of all: the head alone."""
        training = self.experiment.training.model_copy(update={"activation_cache_gb": kept_gb})
        self.count += 1
        config = TrialConfig(
            model_size=SIZE,
            method="full" if not frozen else "linear_probe" if frozen == LAYERS else "freeze",
            frozen_layers=frozen if 0 < frozen < LAYERS else None,
            learning_rate=find_size(self.experiment.models, SIZE)[1].default_learning_rate,
            batch_size=32,
            epochs=self.experiment.training.epochs,
            max_length=training.max_length,
            seed=seed,
        )
        uri = f"{self.folder}/{run}"
        job = TrialJob.of(Candidates.of(self.experiment, self.dataset), self.dataset, training, uri)
        job = job.replace(trial_id=f"t{self.count:03d}", config=config)
        result = run_trial(job, lambda point: None)
        if result.status is not TrialStatus.DONE:
            raise SystemExit(f"{config}: {result.reason}")
        return result

    def kept_bytes(self, run: str) -> int:
        """Bytes of the activations that a run keeps."""
        return sum(path.stat().st_size for path in (Path(self.folder) / run / "activations").glob("*.arrow"))


def measure(bench: Bench, depths: tuple[int, ...], turns: int) -> dict[str, object]:
    """Trials of each depth each way, in turns. Returns the JSON row."""
    bench.run(0, kept_gb=0.0, seed=0, run="warm")
    seconds: dict[int, dict[str, list[float]]] = {depth: {way: [] for way in WAYS} for depth in (0, *depths)}
    f1: dict[int, dict[str, list[float]]] = {depth: {way: [] for way in WAYS} for depth in (0, *depths)}
    kept: dict[int, int] = {}
    for turn in range(turns):
        for depth in (0, *depths):
            run = f"turn-{turn}-{depth}"
            for way in WAYS if depth else WAYS[:1]:
                result = bench.run(depth, kept_gb=0.0 if way == "without" else 100.0, seed=turn, run=run)
                seconds[depth][way].append(result.usage.core_s)
                f1[depth][way].append(result.variants[0].f1)
            kept[depth] = bench.kept_bytes(run)
    plain = statistics.median(seconds[0]["without"])
    print(f"{'frozen layers':14} {'without':>9} {'first':>9} {'after':>9}   F1 without / after   kept on disk")
    print(f"{'0 (full)':14} {plain:8.2f}s")
    rows = {}
    for depth in depths:
        middle = {way: statistics.median(seconds[depth][way]) for way in WAYS}
        score = {way: statistics.mean(f1[depth][way]) for way in WAYS}
        name = "6 (head)" if depth == LAYERS else str(depth)
        times = " ".join(f"{middle[way]:8.2f}s" for way in WAYS)
        print(f"{name:14} {times}   {score['without']:.4f} / {score['after']:.4f}      {kept[depth] / 1e6:7.1f} MB")
        rows[name] = {
            "core_s": {way: round(middle[way], 2) for way in WAYS},
            "without_over_after": round(middle["without"] / middle["after"], 2),
            "full_over_after": round(plain / middle["after"], 2),
            "f1": {way: round(score[way], 4) for way in WAYS},
            "kept_mb": round(kept[depth] / 1e6, 1),
        }
    return {"full_core_s": round(plain, 2), "frozen": rows, "turns": turns}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", default=str(REPO / "experiments" / "data" / "news.csv"))
    parser.add_argument("--max-rows", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="two depths, one turn, 400 rows, one epoch")
    arguments = parser.parse_args()
    rows, epochs = (400, 1) if arguments.quick else (arguments.max_rows, 2)
    overrides = [
        "models=[{base: minilm, layers: [6]}]", f"data={{train: {arguments.train}, max_rows: {rows}}}",
        f"training={{epochs: {epochs}, resources: {{cpu: 1, gpu: 0}}}}",
    ]  # fmt: skip
    experiment = Experiment.load(REPO / "experiments" / "quickstart.yaml", overrides)
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare(experiment.task, experiment.data, Storage(folder))
        bench = Bench(experiment, dataset, folder)
        depths, turns = ((4, 6), 1) if arguments.quick else ((1, 2, 3, 4, 5, 6), arguments.turns)
        row = measure(bench, depths, turns)
    row |= {"rows": {name: split.rows for name, split in dataset.splits.items()}, "epochs": epochs}
    row |= {"quick": arguments.quick, "data": Path(arguments.train).name, "precision": experiment.training.precision}
    publish(row, RESULTS / "frozen_prefix.jsonl")


if __name__ == "__main__":
    main()
