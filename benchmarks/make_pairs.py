"""Pairs "does this sentence answer this question?" from a file of questions with the sentence that answers each.

python benchmarks/make_pairs.py TRAIN.parquet TEST.parquet FOLDER [--questions 2000 750 1000] [--shared 0.5] [--seed 0]

Reads the columns title (the document), context (the sentence) and question, as QAMR has them, and writes train.csv,
validation.csv and test.csv with the columns question, sentence and label. Each question is there twice: once with its
own sentence (yes) and once with another (no), the sentence of its own document that shares most words with it. So
neither the question nor its topic decides. Only questions are taken whose other sentence shares at least half as many
words, weighted by rarity (--shared), as their own: shared words alone say little. Documents are divided between train
and validation whole. Prints one JSON object with the counts.
"""

import argparse
import csv
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path

import pyarrow.parquet as pq

FEWEST_WORDS = 4
"""Questions with fewer words ("What is listed?") are asked of many sentences."""


@dataclass(frozen=True)
class Documents:
    """Sentences of each document, and the weight of each word: the fewer sentences have it, the more it weighs."""

    of: dict[str, list[str]]
    weights: Mapping[str, float]

    def shared(self, question: str, sentence: str) -> float:
        """Weight of the words that a sentence shares with a question."""
        has = set(words(sentence))
        return sum(self.weights.get(word, 0.0) for word in words(question) if word in has)


def words(text: str) -> list[str]:
    """Words in lower case, each once."""
    return list(dict.fromkeys(re.findall(r"[a-z0-9]+", text.casefold())))


def index(rows: Iterable[Mapping[str, str]]) -> Documents:
    """Sentences by document, and the weights of words."""
    of: dict[str, dict[str, None]] = defaultdict(dict)
    for row in rows:
        of[row["title"]][row["context"]] = None
    sentences = {sentence for own in of.values() for sentence in own}
    counts = Counter(word for sentence in sentences for word in words(sentence))
    return Documents(
        {title: list(own) for title, own in of.items()},
        {word: log(len(sentences) / count) for word, count in counts.items()},
    )


def pairs(
    rows: Sequence[Mapping[str, str]], count: int, least_shared: float, generator: random.Random
) -> list[tuple[str, str, str]]:
    """Up to ``count`` questions twice, shuffled."""
    documents = index(rows)
    usable = [row for row in rows if len(words(row["question"])) >= FEWEST_WORDS]
    generator.shuffle(usable)
    made: list[tuple[str, str, str]] = []
    seen: set[str] = set()
    for row in usable:
        question, own = row["question"].strip(), row["context"]
        others = [sentence for sentence in documents.of[row["title"]] if sentence != own]
        # A question that was asked of two sentences would have both labels.
        if question in seen or not others:
            continue
        shared = {sentence: documents.shared(question, sentence) for sentence in [own, *others]}
        other = max(others, key=shared.__getitem__)
        if shared[other] < least_shared * shared[own]:
            continue
        seen.add(question)
        made += [(question, own, "yes"), (question, other, "no")]
        if len(made) == 2 * count:
            break
    generator.shuffle(made)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--questions", type=int, nargs=3, default=(2000, 750, 1000), metavar=("TRAIN", "VAL", "TEST"))
    parser.add_argument("--shared", type=float, default=0.5, metavar="SHARE")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    generator = random.Random(given.seed)
    columns = ["title", "context", "question"]
    rows = pq.read_table(given.train, columns=columns).to_pylist()
    titles = sorted({row["title"] for row in rows})
    generator.shuffle(titles)
    held = set(titles[: len(titles) // 3])
    splits = {
        "train": [row for row in rows if row["title"] not in held],
        "validation": [row for row in rows if row["title"] in held],
        "test": pq.read_table(given.test, columns=columns).to_pylist(),
    }
    given.folder.mkdir(parents=True, exist_ok=True)
    told = {}
    for (name, own), count in zip(splits.items(), given.questions, strict=True):
        made = pairs(own, count, given.shared, generator)
        with (given.folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["question", "sentence", "label"])
            writer.writerows(made)
        told[name] = len(made)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
