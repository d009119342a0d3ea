"""Run a trial of a neural network: tokens, network, training, variants, files. In: a `TrialJob`. Out: an `Outcome`.

Base weights, tokens and probes stay cached in the process for its next trial. Never caches the trained network.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from lft_ray.config.methods import DISTILL, FREEZE, FULL, LINEAR_PROBE, LORA
from lft_ray.data.encode import TokenFile, encode_split
from lft_ray.data.windows import QuestionTokens, WindowTokens, encode_questions
from lft_ray.models.convert import SAFE_WEIGHTS
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.heads import reading_of
from lft_ray.models.network import TextNetwork, build, save
from lft_ray.models.resolve import BaseFiles, find_base
from lft_ray.models.sizes import ModelSize, check_lengths, find_size
from lft_ray.records import CurvePoint, DatasetRecord, ScoredVariant, TrialStatus
from lft_ray.run.checksums import Stored, StoredFolder
from lft_ray.tasks.base import Head, Task, longest_answer_of
from lft_ray.tasks.columns import input_columns
from lft_ray.train.artifacts import attempt_name, node_folder, put_checkpoint, put_predictions, variant
from lft_ray.train.device.meter import Meter, shared_usage
from lft_ray.train.device.precision import training_precision
from lft_ray.train.device.process_group import current_group
from lft_ray.train.device.usage_notes import STATE
from lft_ray.train.job import Outcome, TrialJob, run_storage, trial_device, trial_storage
from lft_ray.train.loop.activations import ActivationStore
from lft_ray.train.loop.checkpoint import StateStore
from lft_ray.train.loop.distill import find_teacher
from lft_ray.train.loop.evaluate import Batching, predict, score
from lft_ray.train.loop.job import LoopJob, LoopResult
from lft_ray.train.methods.freeze import train_frozen, train_linear_probe
from lft_ray.train.methods.lora import train_lora
from lft_ray.train.methods.vocabulary import train_seen_tokens
from lft_ray.train.quantized_eval import int8_logits

__all__ = ["run_network"]

TRAINERS: dict[str, Callable[[LoopJob, Callable[[CurvePoint], None], Callable[[], bool]], LoopResult]] = {
    FULL: train_seen_tokens,
    DISTILL: train_seen_tokens,
    FREEZE: train_frozen,
    LORA: train_lora,
    LINEAR_PROBE: train_linear_probe,
}
"""Training method -> function that trains a loop job. Each leaves the job's network whole, with plain modules."""
MAX_TOKEN_FILES = 8
"""Memory maps open at a time in a process: train and validation of four tokenizers."""

ENCODERS: dict[Head, Callable[[DatasetRecord, str, Path, Path], TokenFile | QuestionTokens]] = {
    "vector": encode_split,
    "tokens": encode_questions,
}
"""What the head reads -> function that tokenises a split for it."""

_TOKENS: OrderedDict[tuple[str, str, str], TokenFile | QuestionTokens] = OrderedDict()


def run_network(
    job: TrialJob,
    task: Task,
    meter: Meter,
    report: Callable[[CurvePoint], None],
    should_stop: Callable[[], bool],
) -> Outcome:
    """Train one network, score every variant at its serving precision, and save checkpoint and predictions.

    A job crosses processes and carries names only, so model size and weights are resolved here, in the process that
    trains.
    """
    spec, size = find_size(job.models, job.config.model_size)
    check_lengths([size], job.config.max_length)
    base = find_base(spec)
    loop_job = _loop_job(job, task, meter, base, size)
    ended = TRAINERS[job.config.method](loop_job, report, should_stop)
    note = loop_job.states.note if loop_job.states else ""
    if ended.status is not TrialStatus.DONE:
        return Outcome(ended.status, ended.reason, ended.curve, shared_usage(meter), note=note)
    card = EngineCard(
        engine="torch",
        model_size=size.name,
        outputs=task.outputs,
        max_length=job.config.max_length,
        pooling=reading_of(size, task.head),
        segments=len(input_columns(task.columns)),
        longest_answer=longest_answer_of(task),
    )
    put = partial(save, cast("TextNetwork", loop_job.network), tokenizer_from=base.folder, card=card)
    variants = _variants(job, loop_job, ended, put)
    checkpoint = StoredFolder("", {})
    if current_group().is_lead:
        checkpoint = put_checkpoint(trial_storage(job), job.attempt, put)
    return Outcome(ended.status, ended.reason, ended.curve, shared_usage(meter), variants, *checkpoint, note)


def _loop_job(job: TrialJob, task: Task, meter: Meter, base: BaseFiles, size: ModelSize) -> LoopJob:
    device = trial_device(job)
    dtype = training_precision(job.training.precision, device)
    with meter.training():
        teacher = find_teacher(job, device)
    network = build(base, size, task.outputs, head=task.head, seed=job.config.seed).to(device)
    return LoopJob(
        network=network,
        task=task,
        metric=job.metric,
        train=_tokens(job, task, "train", base).at(job.config.max_length),
        validation=_tokens(job, task, "validation", base).at(job.config.max_length),
        config=job.config,
        training=job.trained,
        pad_id=network.pad_id,
        device=device,
        dtype=dtype,
        final_precision=job.precisions[0],
        probe_key=_probe_key(job, base, dtype),
        activations=_activations(job, base),
        teacher=teacher,
        states=StateStore(trial_storage(job).child(STATE), _state_key(job, base, dtype)),
        meter=meter,
    )


def _variants(job: TrialJob, loop_job: LoopJob, ended: LoopResult, put: Callable[[Path], None]) -> list[ScoredVariant]:
    """Score every combination of length and serving precision.

    The first of both is the reference variant, whose logits come from the last validation pass of the loop. ``put``
    writes the network into a folder.
    """
    validation, trained = cast("TokenFile | WindowTokens", loop_job.validation), job.config.max_length
    truth = np.asarray(validation.truth)
    variants, lengths = [], sorted({trained, *job.max_lengths}, reverse=True)
    by_length = {length: validation.at(length) for length in lengths}
    width = {length: int(tokens.lengths(length).max(initial=0)) for length, tokens in by_length.items()}
    # One pass per distinct set of token ids: truncation beyond the longest validation text changes nothing.
    passes: dict[tuple[int, str], tuple[NDArray[np.float32], dict[str, float]]] = {}
    if ended.logits is not None:
        passes[width[trained], loop_job.final_precision] = (ended.logits, ended.metrics)
    if "int8" in job.precisions:
        different = {width[length]: length for length in lengths}
        with loop_job.meter.evaluating():
            threads = max(1, int(job.training.resources.cpu))
            encoded = {length: by_length[length].encoded(length) for length in different.values()}
            for length, logits in int8_logits(put, encoded, threads=threads).items():
                scores = score(loop_job.task, truth, logits)
                passes[width[length], "int8"] = (logits, scores.metrics)
    for length in lengths:
        batching = Batching(length, job.training.micro_batch_tokens, loop_job.pad_id, loop_job.device)
        for precision in job.precisions:
            key = (width[length], precision)
            if key not in passes:
                if precision == "int8":
                    continue  # this architecture cannot be exported to ONNX
                with loop_job.meter.evaluating():
                    logits = predict(loop_job.network, by_length[length], batching, precision)
                    passes[key] = (logits, score(loop_job.task, truth, logits).metrics)
            logits, metrics = passes[key]
            stored = Stored("", "")
            if current_group().is_lead:
                name = f"{attempt_name('predictions', job.attempt)}/{precision}-{length}.parquet"
                stored = put_predictions(trial_storage(job), name, validation.row_ids, truth, logits)
            variants.append(variant(precision, length, metrics, metric=job.metric, predictions=stored))
    return variants


def _tokens(job: TrialJob, task: Task, split: str, base: BaseFiles) -> TokenFile | QuestionTokens:
    """Tokens of a split, encoded once per node and memory-mapped once per process."""
    key = (job.dataset.fingerprint, split, str(base.folder))
    if key not in _TOKENS:
        _TOKENS[key] = ENCODERS[task.head](job.dataset, split, base.folder, node_folder(run_storage(job), "tokens"))
        while len(_TOKENS) > MAX_TOKEN_FILES:
            _TOKENS.popitem(last=False)
    _TOKENS.move_to_end(key)
    return _TOKENS[key]


def _activations(job: TrialJob, base: BaseFiles) -> ActivationStore:
    weights = (base.folder / SAFE_WEIGHTS).stat()
    key = [job.dataset.fingerprint, str(base.folder), base.revision, weights.st_size, weights.st_mtime_ns]
    folder = node_folder(run_storage(job), "activations")
    return ActivationStore(folder, json.dumps(key), int(job.training.activation_cache_gb * 1e9))


def _probe_key(job: TrialJob, base: BaseFiles, dtype: str) -> tuple[object, ...]:
    learned = tuple(job.labels) or json.dumps(job.facts, sort_keys=True)
    task = (job.dataset.fingerprint, job.task_kind, learned, job.trained.class_weights)
    return (*task, job.config.model_size, str(base.folder), base.revision, job.config.max_length, dtype)


def _state_key(job: TrialJob, base: BaseFiles, dtype: str) -> str:
    """Fingerprint of everything the weights depend on, including the teacher; workers and resources are left out."""
    excluded = {"workers", "sharding", "resources", "checkpoint_every_s", "activation_cache_gb"}
    training = job.trained.model_dump(mode="json", exclude=excluded)
    parts = [job.config.model_dump(mode="json"), training, *map(str, _probe_key(job, base, dtype))]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
