"""How hard is the sample corpus? 5-fold macro-F1 of TF-IDF and of MiniLM (6 layers) at the shipped defaults.

python benchmarks/corpus_cv.py [--sizes tfidf minilm:6] [--folds 5]

Every fold is trained by the product's own trial code. Prints a table and, on the last line, one JSON object.
"""

import argparse
import csv
import json
import random
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

from lft_ray.candidates import Candidates
from lft_ray.config import Experiment
from lft_ray.data.prepare import prepare
from lft_ray.run.storage import Storage
from lft_ray.search.space import start_table
from lft_ray.train.job import TrialJob
from lft_ray.train.trial import run_trial

CORPUS = Path(__file__).resolve().parent.parent / "experiments" / "data" / "news.csv"


def folds(count: int) -> list[list[dict[str, str]]]:
    """Stratified, seeded folds of the corpus."""
    by_label = defaultdict(list)
    with CORPUS.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            by_label[row["label"]].append(row)
    parts: list[list[dict[str, str]]] = [[] for _ in range(count)]
    for label in sorted(by_label):
        rows = by_label[label]
        random.Random(0).shuffle(rows)
        for index, row in enumerate(rows):
            parts[index % count].append(row)
    return parts


def write(path: Path, rows: list[dict[str, str]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["text", "label"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def score(size: str, held_out: int, parts: list[list[dict[str, str]]], folder: Path) -> float:
    """Macro-F1 on one fold of a model trained on the others."""
    folder.mkdir(parents=True)
    train = [row for index, part in enumerate(parts) if index != held_out for row in part]
    overrides = [
        f"data.train={write(folder / 'train.csv', train)}",
        f"data.validation={write(folder / 'fold.csv', parts[held_out])}",
        "data.split.test=0",
    ]
    experiment = Experiment.load(CORPUS.parent.parent / "quickstart.yaml", overrides)
    dataset = prepare(experiment.task, experiment.data, Storage(folder))
    candidates = Candidates.of(experiment, dataset)
    config = start_table([candidates.size(size)], experiment.training)[0]
    job = TrialJob.of(candidates, dataset, experiment.training, str(folder))
    job = job.replace(trial_id="t000", config=config)
    result = run_trial(job, lambda _: None)
    assert result.status == "done", result.reason
    return result.variants[0].f1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=["tfidf", "minilm:6"])
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    parts = folds(arguments.folds)
    means: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in arguments.sizes:
            scores = [score(size, k, parts, Path(folder) / size.replace(":", "-") / str(k)) for k in range(len(parts))]
            means[size] = statistics.mean(scores)
            print(f"{size:10} {means[size]:.4f} +- {statistics.stdev(scores):.4f}  {[round(s, 4) for s in scores]}")
    print(json.dumps({"folds": arguments.folds, "macro_f1": means}))


if __name__ == "__main__":
    main()
