"""What a distilled trial learns from: the logits of an earlier trial on the train split, computed once a node.

In: the run folder and the teacher's id. Out: a `Teacher`. The first trial that wants the logits runs the teacher over
train with the forward pass of training, and is charged for it; the others map the file. Never trains, never chooses a
teacher: that is the search's.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from lft_ray.config.methods import DISTILL, DistillSpec
from lft_ray.data.encode import encode_split
from lft_ray.data.store import load_split, made_once, target_array, target_column, write_batch
from lft_ray.errors import ConfigError, InputError
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.network import load
from lft_ray.models.tfidf import TfidfModel
from lft_ray.records import TrialRecord
from lft_ray.run.storage import Storage
from lft_ray.train.artifacts import node_folder
from lft_ray.train.device.process_group import Group
from lft_ray.train.job import TrialJob
from lft_ray.train.loop.evaluate import Batching, ComputePrecision, predict

__all__ = ["Teacher", "find_teacher", "teacher_logits", "teacher_record"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Teacher:
    """The teacher's answers and how much they count.

    Attributes:
        logits: float32 [n, c], one row a row of train, in the order of its tokens.
        spec: weight and temperature.
    """

    logits: Floats
    spec: DistillSpec

    def of(self, rows: NDArray[np.int64], device: str) -> torch.Tensor:
        """Logits of some rows, float32 [k, c]."""
        # Indexing copies: the file itself is mapped read-only, which torch.from_numpy warns about.
        return torch.from_numpy(self.logits[rows]).to(device)


def find_teacher(job: TrialJob, device: str) -> Teacher | None:
    """The teacher of a distilled trial, None for every other; must be called before the student takes memory.

    Raises:
        ConfigError: the configuration names no teacher.
        InputError: the run has no such finished trial.
        BundleError: its checkpoint cannot be opened.
    """
    if job.config.method != DISTILL:
        return None
    return Teacher(teacher_logits(job, device), job.training.distill)


def teacher_record(run: Storage, trial_id: str) -> TrialRecord:
    """The ledger's entry of a teacher.

    Raises:
        InputError: there is none, or it did not finish.
    """
    name = f"trials/{trial_id}/record.json"
    record = TrialRecord.model_validate_json(run.get(name)) if trial_id and run.exists(name) else None
    if record is None or not record.checkpoint_uri or not record.variants:
        raise InputError(
            f"the teacher {trial_id!r} is no finished trial of {run.uri}",
            fix="search again with --resume, or --replace",
        )
    return record


def teacher_logits(job: TrialJob, device: str) -> Floats:
    """Logits of the trial ``job.config.teacher`` on train, float32 [n, c], memory-mapped.

    Concurrent calls on a node compute once: the others wait for a lock. Where the run folder is a bucket, each node
    keeps its own copy, and the bucket one for the nodes to come.
    """
    if not job.config.teacher:
        raise ConfigError(
            f"{job.config.model_size} with method distill names no teacher", fix="--set training.method=[full]"
        )
    run = Storage(job.run_uri)
    record = teacher_record(run, job.config.teacher)
    # Ids and URIs come again when a run is replaced; what was measured, and when, does not.
    digest = hashlib.sha256(record.model_dump_json().encode()).hexdigest()
    name = f"{record.trial_id}-{job.dataset.fingerprint[:12]}-{digest[:12]}.arrow"
    path, rows = node_folder(run, "teachers") / name, job.dataset.splits["train"].rows

    def make() -> None:
        if not run.is_local and run.exists(f"teachers/{name}"):
            path.write_bytes(run.get(f"teachers/{name}"))
            if _open(path, rows) is not None:
                return
        _write(path, _compute(job, record, device))
        if not run.is_local:
            run.put(f"teachers/{name}", path.read_bytes())

    logits = made_once(path, lambda: _open(path, rows), make)
    if logits is None or logits.shape[1] != len(job.labels):
        raise InputError(f"{path} does not hold {rows} rows of {len(job.labels)} logits", fix="remove the file")
    return logits


def _open(path: Path, rows: int) -> Floats | None:
    """The logits of a file; None where it is absent, cut off or of other data: then it is made again."""
    try:
        with pa.memory_map(str(path)) as source:
            logits = target_array(pa.ipc.open_file(source).get_batch(0).column("logits"))
    except (OSError, pa.ArrowException, KeyError, IndexError):
        return None
    return logits if len(logits) == rows else None


def _write(path: Path, logits: Floats) -> None:
    write_batch(pa.record_batch({"logits": target_column(logits)}), path)


def _compute(job: TrialJob, record: TrialRecord, device: str) -> Floats:
    # Not beside the run: a copy from a bucket is needed once.
    with TemporaryDirectory(prefix="lft-teacher-") as cache:
        folder = Storage(record.checkpoint_uri).local_folder("", Path(cache))
        card = EngineCard.read(folder)
        if card.engine == "sklearn":
            return np.asarray(TfidfModel.load(folder).logits(load_split(job.dataset, "train").texts), np.float32)
        return _answers(job, folder, card.max_length, record.variants[0].precision, device)


def _answers(job: TrialJob, folder: Path, max_length: int, precision: str, device: str) -> Floats:
    """Answers of a network as it was evaluated. Its base may have another tokenizer than the student's."""
    network = load(folder).to(device)
    tokens = encode_split(job.dataset, "train", folder, node_folder(Storage(job.run_uri), "tokens"))
    batching = Batching(max_length, job.training.micro_batch_tokens, network.pad_id, device)
    as_served: ComputePrecision = "bf16" if precision == "bf16" else "fp32"
    # Alone: the other processes of a sharded trial wait at the lock, not in an exchange.
    return predict(network, tokens, batching, as_served, group=Group())
