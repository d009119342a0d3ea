"""Is the floor of the front honest? The product's TF-IDF beside the pipeline that anyone would write in scikit-learn.

python benchmarks/tfidf_floor.py [TRAIN:TEST ...] [--text text --label label] [--rows 4000] [--test-rows 3000]

Without paths: the sample corpus, 55% of it for training. Each argument is a train file and a test file (CSV, TSV, JSONL
or Parquet) joined by a colon. A label column of lists is a task of several labels. ``reference`` is a union of word
1-2-grams and char_wb 2-5-grams under LinearSVC(C=0.5); both sides get the same rows. Seconds are of one core: fit once,
predict one text at a time, as a replica does. Prints a table and, on the last line, one JSON object.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lft_ray.models.tfidf import TfidfModel
from lft_ray.tasks.base import LabelTask
from lft_ray.tasks.classification import Classification
from lft_ray.tasks.multilabel import Multilabel

SAMPLE = Path(__file__).parent.parent / "experiments" / "data" / "news.csv"
SAMPLE_SHARE = 0.55
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Row:
    """Scores and core-seconds on one data set; ``loss`` is the mean of -log of the probability of the right label."""

    name: str
    train_rows: int
    labels: int
    reference_f1: float
    product_f1: float
    features: str
    loss: float
    fit_s: float
    us_per_text: float
    bundle_mb: float


Split = tuple[list[str], list[list[str]]]


def main() -> None:
    """Score each pair of files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="*", metavar="TRAIN:TEST")
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="label")
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--test-rows", type=int, default=3000)
    args = parser.parse_args()
    found = []
    for pair in args.pairs or [""]:
        train, test = _splits(pair, args)
        found.append(_compare(Path(pair.partition(":")[0] or SAMPLE), train, test))
        _print(found[-1])
    print(json.dumps({"benchmark": "tfidf_floor", "rows": [asdict(row) for row in found]}))


def _splits(pair: str, args: argparse.Namespace) -> tuple[Split, Split]:
    if not pair:
        table = pd.read_csv(SAMPLE).sample(frac=1.0, random_state=0)
        cut = int(SAMPLE_SHARE * len(table))
        return _columns(table[:cut], "text", "label"), _columns(table[cut:], "text", "label")
    train, test = (_read(Path(path)) for path in pair.split(":"))
    shorter = [
        table.sample(min(len(table), n), random_state=0) for table, n in ((train, args.rows), (test, args.test_rows))
    ]
    return _columns(shorter[0], args.text, args.label), _columns(shorter[1], args.text, args.label)


def _read(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".jsonl":
        return pd.read_json(path, lines=True)
    return pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",")


def _columns(table: pd.DataFrame, text: str, label: str) -> Split:
    names = [[str(value)] if np.isscalar(value) else [str(one) for one in value] for value in table[label]]
    return [str(value) for value in table[text]], names


def _compare(path: Path, train: Split, test: Split) -> Row:
    labels = sorted({name for names in train[1] for name in names})
    several = any(len(names) != 1 for names in train[1])
    task: LabelTask = Multilabel(labels) if several else Classification(labels)
    known = [row for row, names in enumerate(test[1]) if set(names) <= set(labels)]
    texts, targets = [test[0][row] for row in known], task.encode({"label": [test[1][row] for row in known]})
    own = task.encode({"label": train[1]})
    reference = _reference(train[0], own, texts, len(labels))
    begun = time.process_time()
    model = TfidfModel.fit(train[0], own, task, 0)
    fit_s = time.process_time() - begun
    logits = model.logits(texts)
    return Row(
        name=path.stem if path.stem not in {"train", "test"} else path.parent.name,
        train_rows=len(own),
        labels=len(labels),
        reference_f1=task.metrics(targets, reference)["macro_f1"],
        product_f1=task.metrics(targets, logits)["macro_f1"],
        features=("words + characters" if model.grams else "words") + f", C {model.strength:g}",
        loss=_loss(task.probabilities(logits), targets),
        fit_s=fit_s,
        us_per_text=1e6 * _seconds(lambda: [model.logits([text]) for text in texts]) / len(texts),
        bundle_mb=_megabytes(model),
    )


def _reference(texts: Sequence[str], targets: NDArray[Any], test: Sequence[str], outputs: int) -> NDArray[np.float32]:
    """Decisions [n, c] of the pipeline that the product is measured by."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.svm import LinearSVC

    union = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )
    machine = LinearSVC(C=0.5, random_state=0)
    pipeline = make_pipeline(union, OneVsRestClassifier(machine) if targets.ndim == 2 else machine)
    found = pipeline.fit(texts, targets > 0.5 if targets.ndim == 2 else targets).predict(test)
    chosen = found.astype(np.float32) if targets.ndim == 2 else np.eye(outputs, dtype=np.float32)[found]
    return 2.0 * chosen - 1.0


def _loss(probabilities: NDArray[np.float32], targets: NDArray[Any]) -> float:
    clipped = np.clip(probabilities.astype(np.float64), 1e-7, 1.0 - 1e-7)
    if targets.ndim == 2:
        return float(-(targets * np.log(clipped) + (1.0 - targets) * np.log(1.0 - clipped)).mean())
    return float(-np.log(clipped[np.arange(len(targets)), targets]).mean())


def _seconds(call: Callable[[], object]) -> float:
    """Core-seconds of the fastest of some rounds."""
    taken = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        call()
        taken.append(time.process_time() - begun)
    return min(taken)


def _megabytes(model: TfidfModel) -> float:
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder))
        return sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6


def _print(row: Row) -> None:
    gain = 100 * (row.product_f1 - row.reference_f1)
    print(
        f"{row.name:24} {row.train_rows:6,} rows {row.labels:3} labels   reference {row.reference_f1:.3f}   "
        f"product {row.product_f1:.3f} ({gain:+.1f})   {row.features:26} loss {row.loss:.3f}   "
        f"fit {row.fit_s:5.1f} s   {row.us_per_text:4.0f} us/text   {row.bundle_mb:5.1f} MB",
        flush=True,
    )


if __name__ == "__main__":
    main()
