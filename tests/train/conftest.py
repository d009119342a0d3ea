"""A tiny real BERT, tiny data sets, and jobs on them."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lft_ray.config import DataSpec, ModelSpec, TaskSpec, TrainingSpec
from lft_ray.data.encode import encode_split
from lft_ray.data.prepare import prepare
from lft_ray.models.network import TextNetwork, build
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import find_size
from lft_ray.records import DatasetRecord, TrialConfig
from lft_ray.run.storage import Storage
from lft_ray.tasks.classification import Classification
from lft_ray.tasks.multilabel import Multilabel
from lft_ray.train.device.meter import Meter
from lft_ray.train.job import TrialJob
from lft_ray.train.loop.job import LoopJob

HIDDEN = 32
LAYERS = 2
TOPICS = {
    "food": ["bread", "soup", "apple", "salt"],
    "sea": ["wave", "boat", "fish", "sand"],
    "sky": ["cloud", "star", "bird", "wind"],
}
FILLER = ["the", "a", "was", "and", "very", "old", "near", "with", "some", "then", "there", "it"]


def texts_of(count: int, seed: int) -> list[tuple[str, str]]:
    """Rows of 3 to 30 words, two of which determine the topic."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        topic = list(TOPICS)[number % len(TOPICS)]
        words = [*random.choice(TOPICS[topic], 2), *random.choice(FILLER, random.integers(1, 28))]
        rows.append((" ".join(random.permutation(words)) + f" {number}", topic))
    return rows


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory) -> Path:
    """A model folder as on the hub: config, weights by their hub names, tokenizer. Random weights, hidden size 32."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("tiny-bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *FILLER, *(word for group in TOPICS.values() for word in group)]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "model_type": "bert",
        "vocab_size": len(words),
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": 2 * HIDDEN,
        "max_position_embeddings": 64,
        "type_vocab_size": 2,
        "pad_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file(_bert_weights(torch.Generator().manual_seed(0), len(words)), str(folder / "model.safetensors"))
    return folder


def _bert_weights(generator, vocab: int) -> dict[str, Any]:
    import torch

    def matrix(*shape):
        return torch.randn(shape, generator=generator) * 0.1

    def norm(name):
        return {f"{name}.weight": torch.ones(HIDDEN), f"{name}.bias": torch.zeros(HIDDEN)}

    def linear(name, rows, columns):
        return {f"{name}.weight": matrix(rows, columns), f"{name}.bias": torch.zeros(rows)}

    state = {
        "embeddings.word_embeddings.weight": matrix(vocab, HIDDEN),
        "embeddings.position_embeddings.weight": matrix(64, HIDDEN),
        "embeddings.token_type_embeddings.weight": matrix(2, HIDDEN),
        **norm("embeddings.LayerNorm"),
    }
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            state |= linear(f"{name}.attention.{part}", HIDDEN, HIDDEN)
        state |= linear(f"{name}.intermediate.dense", 2 * HIDDEN, HIDDEN)
        state |= linear(f"{name}.output.dense", HIDDEN, 2 * HIDDEN)
        state |= norm(f"{name}.attention.output.LayerNorm") | norm(f"{name}.output.LayerNorm")
    return state


def _prepared(folder: Path, kind: str, rows: dict[str, list[tuple[str, str]]]) -> DatasetRecord:
    folder.mkdir(parents=True, exist_ok=True)
    for name, pairs in rows.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("text", "label"), *pairs])
    data = DataSpec(train=str(folder / "train.csv"), validation=str(folder / "validation.csv"), split={"test": 0.0})
    return prepare(TaskSpec(kind=kind), data, Storage(folder))


@pytest.fixture(scope="session")
def topics(tmp_path_factory) -> DatasetRecord:
    """119 train rows (so that the last step of an epoch is ragged) and 60 validation rows, three labels."""
    rows = {"train": texts_of(119, 1), "validation": texts_of(60, 2)}
    return _prepared(tmp_path_factory.mktemp("topics"), "classification", rows)


@pytest.fixture(scope="session")
def tags(tmp_path_factory) -> DatasetRecord:
    """Pairs of the same texts, with the labels of both."""

    def paired(rows):
        return [
            (f"{a} {b}", ",".join(sorted({x, y}))) for (a, x), (b, y) in zip(rows, [*rows[4:], *rows[:4]], strict=True)
        ]

    rows = {"train": paired(texts_of(120, 3)), "validation": paired(texts_of(60, 4))}
    return _prepared(tmp_path_factory.mktemp("tags"), "multilabel", rows)


@pytest.fixture(scope="session")
def matches(tmp_path_factory) -> DatasetRecord:
    """Two texts a row: of the same topic, or of two."""
    folder = tmp_path_factory.mktemp("matches")

    def paired(rows):
        # The topics take turns, so that every third text is of the same one.
        moved = [rows[(number + (3 if number % 2 else 1)) % len(rows)] for number in range(len(rows))]
        return [(a, b, "same" if x == y else "other") for (a, x), (b, y) in zip(rows, moved, strict=True)]

    for name, rows in {"train": paired(texts_of(120, 5)), "validation": paired(texts_of(60, 6))}.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("text_a", "text_b", "label"), *rows])
    data = DataSpec(train=str(folder / "train.csv"), validation=str(folder / "validation.csv"), split={"test": 0.0})
    return prepare(TaskSpec(kind="pairs"), data, Storage(folder))


def fresh_network(base: Path, outputs: int, *, layers: int = LAYERS, seed: int = 0) -> TextNetwork:
    spec = ModelSpec(base=str(base), layers=[layers])
    size = find_size([spec], f"{base}:{layers}")[1]
    return build(find_base(spec), size, outputs, seed=seed)


TRAINING = TrainingSpec(precision="fp32", micro_batch_tokens=256, evaluations=3, warmup=0.1)


@pytest.fixture
def loop_job(tiny_bert, topics, tmp_path_factory) -> Callable[..., LoopJob]:
    """Factory of loop jobs: a fresh network on `topics` (or another record), with changes."""
    folder = tmp_path_factory.getbasetemp() / "tokens"

    def make(record: DatasetRecord = topics, training: dict[str, Any] | None = None, **changes: Any) -> LoopJob:
        kind = Multilabel if record.task_kind == "multilabel" else Classification
        task = kind(record.labels)
        config = TrialConfig(model_size="tiny:2", learning_rate=1e-2, batch_size=16, epochs=3, max_length=32)
        job = LoopJob(
            network=fresh_network(tiny_bert, task.outputs),
            task=task,
            metric="macro_f1",
            train=encode_split(record, "train", tiny_bert, folder),
            validation=encode_split(record, "validation", tiny_bert, folder),
            config=config.model_copy(update=changes.pop("config", {})),
            training=TRAINING.model_copy(update=training or {}),
            pad_id=0,
            meter=Meter(),
        )
        return replace(job, **changes)

    return make


@pytest.fixture
def trial_job(tiny_bert, topics, tmp_path) -> Callable[..., TrialJob]:
    """Factory of trial jobs on `topics` (or another record), with changes."""

    def make(record: DatasetRecord = topics, training: dict[str, Any] | None = None, **changes: Any) -> TrialJob:
        config = TrialConfig(model_size=f"{tiny_bert}:2", learning_rate=1e-2, batch_size=16, epochs=3, max_length=32)
        plain = {
            "trial_id": "t-0001",
            "config": config.model_copy(update=changes.pop("config", {})),
            "models": [ModelSpec(base=str(tiny_bert), layers=[1, 2]), ModelSpec(base="tfidf")],
            "task_kind": record.task_kind,
            "labels": record.labels,
            "dataset": record,
            "training": TRAINING.model_copy(update=training or {}),
            "run_uri": str(tmp_path / "run"),
        }
        return TrialJob(**(plain | changes))

    return make
