"""How many wrong labels does `lft check --deep` find, and how many right ones does it accuse?

python benchmarks/label_errors.py [DATA --gold COLUMN] [--clean DATA] [--rows 4000] [--features tfidf]

Without DATA, a share of the labels of the sample corpus is flipped at random. With DATA (CSV, JSONL or Parquet with the
columns text and label), ``--gold`` names the column of the true labels. ``--clean`` is data with right labels, on which
every suspect is a false alarm; without DATA it is the corpus before the flips. Where cleanlab is installed, it ranks
the same out-of-fold probabilities. ``--cache FOLDER`` keeps the forward passes. Prints a table and, on the last line,
one JSON object.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
from numpy.typing import NDArray

from lft_ray.config import ModelSpec
from lft_ray.data.keys import text_keys
from lft_ray.data.near import near_duplicates
from lft_ray.tasks.classification import Classification
from lft_ray.train.deep.check import groups, judged
from lft_ray.train.deep.features import Encoder, find_encoder, network_features, tfidf_matrix
from lft_ray.train.deep.folds import fold_of_rows, out_of_fold
from lft_ray.train.deep.noise import LIKELY, POSSIBLE, scored

CORPUS = Path(__file__).resolve().parent.parent / "experiments" / "data" / "news.csv"
MAX_LENGTH = 128
RECALLS = (0.2, 0.35, 0.5)
READERS = {".csv": pyarrow.csv.read_csv, ".jsonl": pyarrow.json.read_json, ".parquet": pyarrow.parquet.read_table}


def read(path: str, columns: list[str]) -> list[list[str]]:
    table = READERS[Path(path).suffix](path)
    return [table.column(name).to_pylist() for name in columns]


def sampled(lists: list[list[str]], rows: int, random: np.random.Generator) -> list[list[str]]:
    count = len(lists[0])
    chosen = np.sort(random.permutation(count)[:rows]) if rows < count else np.arange(count)
    return [[values[row] for row in chosen] for values in lists]


def flipped(labels: list[str], share: float, random: np.random.Generator) -> list[str]:
    """The labels with a share of them replaced by another, each equally likely."""
    names, wrong = sorted(set(labels)), set(random.permutation(len(labels))[: round(share * len(labels))].tolist())
    return [
        str(random.choice([name for name in names if name != label])) if row in wrong else label
        for row, label in enumerate(labels)
    ]


def features(encoder: Encoder, texts: list[str], cache: Path | None) -> NDArray[np.float32]:
    if cache is None:
        return network_features(encoder, texts, max_length=MAX_LENGTH)
    cache.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256("\0".join([encoder.name, str(MAX_LENGTH), *texts]).encode()).hexdigest()[:16]
    path = cache / f"{digest}.npy"
    if not path.exists():
        np.save(path, network_features(encoder, texts, max_length=MAX_LENGTH))
    kept: NDArray[np.float32] = np.load(path)
    return kept


class Judged:
    """Out-of-fold probabilities of some rows, computed as the product does."""

    def __init__(self, texts: list[str], labels: list[str], encoder: Encoder | None, args: argparse.Namespace) -> None:
        task = Classification(sorted(set(labels)))
        self.given = task.encode({"label": [[label] for label in labels]})
        keys, _ = text_keys(texts)
        fold = fold_of_rows(groups(keys, near_duplicates(texts, keys)), labels, seed=args.seed)
        views = [tfidf_matrix(texts, max_length=MAX_LENGTH)]
        if encoder is not None:
            views.insert(0, features(encoder, texts, args.cache))
        self.probabilities = out_of_fold(views, self.given, task, fold, seed=args.seed)
        self.labels = task.labels
        self.enough = judged(self.given, keys, task)[self.given]


def flags(judged_rows: Judged) -> Iterator[tuple[str, NDArray[np.bool_], NDArray[np.float64]]]:
    """Name of a method, the rows that it flags, and its ranking (higher is more suspicious)."""
    given, probabilities = judged_rows.given, judged_rows.probabilities
    score = np.where(judged_rows.enough, scored(probabilities, given).score, -np.inf)
    yield "likely", score >= LIKELY, score
    yield "likely and possible", score >= POSSIBLE, score
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        return
    for filter_by in ("prune_by_noise_rate", "confident_learning", "both"):
        flagged = find_label_issues(given, probabilities, filter_by=filter_by, n_jobs=1)
        for method in ("self_confidence", "normalized_margin"):
            quality = get_label_quality_scores(given, probabilities, method=method)
            yield f"cleanlab {filter_by}, {method}", flagged, -quality


def row_of(flagged: NDArray[np.bool_], ranking: NDArray[np.float64], wrong: NDArray[np.bool_]) -> dict[str, float]:
    """Precision and recall of what is flagged, and precision where a share of the errors is found."""
    order = np.argsort(-ranking, kind="stable")
    found = np.cumsum(wrong[order])
    row = {
        "flagged": float(flagged.mean()),
        "precision": float(wrong[flagged].mean()) if flagged.any() else 0.0,
        "recall": float((flagged & wrong).sum() / max(wrong.sum(), 1)),
    }
    for recall in RECALLS:
        needed = int(np.searchsorted(found, np.ceil(recall * wrong.sum()))) + 1
        row[f"precision_at_recall_{recall}"] = float(found[needed - 1] / needed)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?")
    parser.add_argument("--gold", default="gold_label")
    parser.add_argument("--clean")
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--flip", type=float, default=0.1)
    parser.add_argument("--features", choices=["network", "tfidf"], default="network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path)
    args = parser.parse_args()
    random = np.random.default_rng(args.seed)
    encoder = find_encoder([ModelSpec(base="minilm")]) if args.features == "network" else None
    clean: list[list[str]] | None = None
    if args.data is None:
        clean = sampled(read(str(CORPUS), ["text", "label"]), args.rows, random)
        texts, gold = clean
        labels = flipped(gold, args.flip, random)
    else:
        texts, labels, gold = sampled(read(args.data, ["text", "label", args.gold]), args.rows, random)
    if args.clean is not None:
        clean = sampled(read(args.clean, ["text", "label"]), args.rows, random)
    noisy = Judged(texts, labels, encoder, args)
    wrong = np.array([label != truth for label, truth in zip(labels, gold, strict=True)])
    predicted = [noisy.labels[number] for number in noisy.probabilities.argmax(axis=1)]
    table = {name: row_of(flagged, ranking, wrong) for name, flagged, ranking in flags(noisy)}
    if clean is not None:
        for name, flagged, _ in flags(Judged(clean[0], clean[1], encoder, args)):
            table[name]["false_alarms_on_clean"] = float(flagged.mean())
    columns = list(next(iter(table.values())))
    read_by = f"{encoder.name} and TF-IDF" if encoder else "TF-IDF"
    accuracy = float(np.mean([one == truth for one, truth in zip(predicted, gold, strict=True)]))
    print(
        f"{len(texts):,} rows, {wrong.mean():.1%} wrong, read by {read_by}; accuracy against the truth {accuracy:.3f}"
    )
    print(f"| method | {' | '.join(column.replace('_', ' ') for column in columns)} |\n|---|{'---|' * len(columns)}")
    for name, row in table.items():
        print(f"| {name} | {' | '.join(f'{row[column]:.3f}' for column in columns)} |")
    facts = {"rows": len(texts), "wrong": float(wrong.mean()), "features": read_by, "accuracy": accuracy}
    print(json.dumps({**facts, "methods": table}))


if __name__ == "__main__":
    main()
