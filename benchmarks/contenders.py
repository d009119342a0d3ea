"""Ways to fine-tune one model on the same rows, each run in a process of its own by train_throughput.py.

python benchmarks/contenders.py JSON   (a `Job`; prints one JSON object, `Measured`, on the last line)

naive: one text a step with Adam. hf_default: the Hugging Face Trainer, padded to the longest text of a batch.
hf_best_sdpa and hf_best_eager: the Trainer with bf16, length-grouped batches and fused AdamW, by attention. ours: the
product's loop as a trial runs it, its frozen probe included. Tokenising is nobody's: all begin with token ids.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lft_ray.config import DataSpec, ModelSpec, SplitSpec, TaskSpec, TrainingSpec
from lft_ray.data.encode import TokenFile, encode_split
from lft_ray.data.prepare import prepare
from lft_ray.models.network import build
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import find_size
from lft_ray.records import TrialConfig
from lft_ray.run.storage import Storage
from lft_ray.tasks.classification import Classification

WARM_STEPS = 4
"""Steps at the start that are not timed: libraries load, kernels are chosen, memory is taken for the first time."""
MAX_LENGTH = 128
NAIVE_RATE = 2e-5


@dataclass(frozen=True, slots=True)
class Job:
    """One contender's run."""

    contender: str
    train: str
    rows: int
    validation_rows: int
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    threads: int
    model_size: str
    folder: str
    """Where the prepared rows lie; made by the first run."""
    max_steps: int = -1
    """Stop after so many steps, without a score; -1: run to the end."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What it came to."""

    samples_per_s: float
    """Over the steps after the warm ones, wall clock."""
    tokens_per_s: float
    """Real tokens, at the mean length of the rows."""
    padding_share: float
    """Share of the positions computed in training that are padding."""
    gflop_per_s: float
    """6 x weights of the layers' matrices x real tokens a second: attention scores and padding count as nothing."""
    whole_s: float
    """From weights in memory to the score of the validation rows."""
    f1: float | None
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Rows:
    """Token ids and targets of both splits."""

    train: TokenFile
    validation: TokenFile
    labels: list[str]

    def listed(self, split: TokenFile) -> list[dict[str, Any]]:
        """As the Trainer takes them."""
        ids = split.gather(np.arange(len(split)), MAX_LENGTH)
        targets = np.asarray(split.targets).tolist()
        return [{"input_ids": row.tolist(), "labels": target} for row, target in zip(ids, targets, strict=True)]


def load_rows(job: Job) -> Rows:
    """The same rows for every contender and seed."""
    rows = job.rows + job.validation_rows
    split = SplitSpec(validation=job.validation_rows / rows, test=0.0)
    dataset = prepare(TaskSpec(), DataSpec(train=job.train, max_rows=rows, split=split), Storage(job.folder))
    base = find_base(find_size(_models(job), job.model_size)[0])
    tokens = Path(job.folder) / "tokens"
    train, validation = (encode_split(dataset, split, base.folder, tokens) for split in ("train", "validation"))
    return Rows(train, validation, list(dataset.labels))


def ours(job: Job, rows: Rows) -> Measured:
    """The product's loop."""
    from lft_ray.train.device.meter import Meter
    from lft_ray.train.device.precision import training_precision
    from lft_ray.train.loop.job import LoopJob
    from lft_ray.train.methods.vocabulary import train_seen_tokens

    spec, size = find_size(_models(job), job.model_size)
    network = build(find_base(spec), size, len(rows.labels), seed=job.seed)
    config = TrialConfig(
        model_size=job.model_size, learning_rate=job.learning_rate, batch_size=job.batch_size, epochs=job.epochs,
        max_length=MAX_LENGTH, seed=job.seed,
    )  # fmt: skip
    meter, ticks = Meter(), []

    def tick() -> bool:
        # The loop asks once a step.
        ticks.append(time.perf_counter())
        return len(ticks) == job.max_steps

    began = time.perf_counter()
    result = train_seen_tokens(
        LoopJob(
            network=network, task=Classification(rows.labels), metric="macro_f1", train=rows.train,
            validation=rows.validation, config=config, training=TrainingSpec(evaluations=1), pad_id=network.pad_id,
            dtype=training_precision("auto", "cpu"), meter=meter,
        ),
        lambda point: None,
        tick,
    )  # fmt: skip
    whole_s = time.perf_counter() - began
    usage = meter.own()
    padding = 1.0 - usage.tokens / usage.padded_tokens
    return _measured(job, rows, ticks, padding, whole_s, result.metrics.get("macro_f1"))


def naive(job: Job, rows: Rows) -> Measured:
    """One text at a time."""
    import torch

    network = _hub_network(job, rows, "sdpa").train()
    optimizer = torch.optim.Adam(network.parameters(), lr=NAIVE_RATE)
    listed, ticks = rows.listed(rows.train), []
    began = time.perf_counter()
    for epoch in range(job.epochs):
        for row in np.random.default_rng([job.seed, epoch]).permutation(len(listed)):
            ids = torch.tensor([listed[row]["input_ids"]])
            loss = network(input_ids=ids, labels=torch.tensor([listed[row]["labels"]])).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            ticks.append(time.perf_counter())
            if len(ticks) == job.max_steps:
                return _measured(job, rows, ticks, 0.0, time.perf_counter() - began, None, batch_size=1)
    f1 = _scored(network, rows)
    return _measured(job, rows, ticks, 0.0, time.perf_counter() - began, f1, batch_size=1)


def hf_default(job: Job, rows: Rows) -> Measured:
    """The Trainer as it comes, padded to the longest of a batch."""
    return _trainer(job, rows, "sdpa", {})


def hf_best_sdpa(job: Job, rows: Rows) -> Measured:
    """The Trainer's fast settings."""
    return _trainer(job, rows, "sdpa", {"bf16": True, "train_sampling_strategy": "group_by_length"})


def hf_best_eager(job: Job, rows: Rows) -> Measured:
    """The Trainer's fast settings with the attention that is faster in bf16 on some processors."""
    return _trainer(job, rows, "eager", {"bf16": True, "train_sampling_strategy": "group_by_length"})


def peak(job: Job, rows: Rows) -> Measured:
    """GFLOP/s of one product of the model's shape; ``gflop_per_s`` in bf16, ``samples_per_s`` in fp32."""
    import torch

    from lft_ray.train.device.precision import matmul_precision

    def rate(dtype: Any) -> float:
        left, right = torch.randn(2048, 384).to(dtype), torch.randn(384, 1536).to(dtype)
        best = 0.0
        for _ in range(5):
            begin = time.perf_counter()
            for _ in range(20):
                left @ right
            best = max(best, 20 * 2 * 2048 * 384 * 1536 / (time.perf_counter() - begin) / 1e9)
        return best

    with matmul_precision("cpu"):
        return Measured(rate(torch.float32), 0.0, 0.0, rate(torch.bfloat16), 0.0, None, 0.0)


def _trainer(job: Job, rows: Rows, attention: str, settings: dict[str, Any]) -> Measured:
    from transformers import (
        DataCollatorWithPadding,
        PreTrainedTokenizerFast,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    ticks: list[float] = []
    positions = [0, 0]

    class Ticks(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            ticks.append(time.perf_counter())

    base = find_base(find_size(_models(job), job.model_size)[0])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(base.folder / "tokenizer.json"), pad_token="[PAD]", model_max_length=MAX_LENGTH
    )
    pad = DataCollatorWithPadding(tokenizer)

    def collate(features: list[dict[str, Any]]) -> Any:
        batch = pad(features)
        positions[0] += int(batch["attention_mask"].sum())
        positions[1] += batch["attention_mask"].numel()
        return batch

    network = _hub_network(job, rows, attention)
    arguments = TrainingArguments(
        output_dir=f"{job.folder}/trainer", per_device_train_batch_size=job.batch_size, num_train_epochs=job.epochs,
        learning_rate=job.learning_rate, seed=job.seed, max_steps=job.max_steps, use_cpu=True, report_to="none",
        save_strategy="no", logging_strategy="no", disable_tqdm=True, **settings,
    )  # fmt: skip
    trainer = Trainer(
        model=network, args=arguments, train_dataset=rows.listed(rows.train), data_collator=collate, callbacks=[Ticks()]
    )
    began = time.perf_counter()
    trainer.train()
    f1 = _scored(network, rows, trainer) if job.max_steps < 0 else None
    return _measured(job, rows, ticks, 1.0 - positions[0] / positions[1], time.perf_counter() - began, f1)


def _scored(network: Any, rows: Rows, trainer: Any = None) -> float:
    """Macro F1 of the validation rows."""
    import torch
    from sklearn.metrics import f1_score

    listed = rows.listed(rows.validation)
    if trainer is not None:
        # In the Trainer's own order: with length-grouped batches its predictions are not in that of the rows.
        found = trainer.predict(listed)
        return float(f1_score(found.label_ids, found.predictions.argmax(1), average="macro"))
    network.eval()
    with torch.inference_mode():
        chosen = [int(network(input_ids=torch.tensor([row["input_ids"]])).logits.argmax()) for row in listed]
    return float(f1_score([row["labels"] for row in listed], chosen, average="macro"))


def _hub_network(job: Job, rows: Rows, attention: str) -> Any:
    """The same weights as transformers opens them, cut to the same layers, with a fresh head."""
    from transformers import AutoModelForSequenceClassification, set_seed

    set_seed(job.seed)
    spec, size = find_size(_models(job), job.model_size)
    return AutoModelForSequenceClassification.from_pretrained(
        find_base(spec).folder,
        num_labels=len(rows.labels),
        num_hidden_layers=size.layers,
        attn_implementation=attention,
    )


def _models(job: Job) -> list[ModelSpec]:
    base, layers = job.model_size.split(":")
    return [ModelSpec(base=base, layers=[int(layers)])]


def _layer_weights(job: Job) -> int:
    from torch import nn

    spec, size = find_size(_models(job), job.model_size)
    network = build(find_base(spec), size, 2)
    return sum(m.weight.numel() for m in network.backbone.modules() if isinstance(m, nn.Linear))


def _measured(
    job: Job, rows: Rows, ticks: list[float], padding: float, whole_s: float, f1: float | None, batch_size: int = 0
) -> Measured:
    steps = len(ticks) - 1 - WARM_STEPS
    samples_per_s = steps * (batch_size or job.batch_size) / (ticks[-1] - ticks[WARM_STEPS])
    tokens_per_s = samples_per_s * float(rows.train.lengths(MAX_LENGTH).mean())
    return Measured(
        samples_per_s=samples_per_s,
        tokens_per_s=tokens_per_s,
        padding_share=padding,
        gflop_per_s=6 * _layer_weights(job) * tokens_per_s / 1e9,
        whole_s=whole_s,
        f1=f1,
        # ru_maxrss is in KiB on Linux.
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


CONTENDERS: dict[str, Callable[[Job, Rows], Measured]] = {
    "naive": naive,
    "hf_default": hf_default,
    "hf_best_sdpa": hf_best_sdpa,
    "hf_best_eager": hf_best_eager,
    "ours": ours,
    "peak": peak,
}


def main() -> None:
    import torch

    job = Job(**json.loads(sys.argv[1]))
    torch.set_num_threads(job.threads)
    print(json.dumps(asdict(CONTENDERS[job.contender](job, load_rows(job)))))


if __name__ == "__main__":
    main()
