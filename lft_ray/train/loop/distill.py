"""Teacher of a distilled trial: the logits of an earlier trial on the train split, computed once per node.

In: the run folder and the teacher's trial id. Out: a `Teacher`. The first trial that needs the logits runs the teacher
over the train split and is charged for it; later trials memory-map the file. Never trains, and never chooses the
teacher, which is up to the search.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from lft_ray.config.methods import DISTILL, DistillSpec
from lft_ray.data.encode import encode_split
from lft_ray.data.store import create_once, load_split, target_array, target_column, write_batch
from lft_ray.errors import ConfigError, InputError
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.network import load
from lft_ray.models.tfidf import TfidfModel
from lft_ray.records import TrialRecord
from lft_ray.run.checksums import check_folder, is_sealed, seal
from lft_ray.run.files import read_record
from lft_ray.run.storage import Storage
from lft_ray.train.artifacts import node_folder
from lft_ray.train.device.process_group import Group
from lft_ray.train.job import TrialJob
from lft_ray.train.loop.evaluate import Batching, ComputePrecision, predict

__all__ = ["Teacher", "find_teacher", "teacher_logits", "teacher_record"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Teacher:
    """The teacher's logits and the settings of the distillation loss.

    Attributes:
        logits: float32 [n, c], one row per row of the train split, in its order.
        spec: weight and temperature of the distillation loss.
    """

    logits: Floats
    spec: DistillSpec

    def of(self, rows: NDArray[np.int64], device: str) -> torch.Tensor:
        """Logits of some rows, float32 [k, c], on ``device``."""
        # Indexing copies. The file itself is mapped read-only, and torch.from_numpy warns about read-only arrays.
        return torch.from_numpy(self.logits[rows]).to(device)


def find_teacher(job: TrialJob, device: str) -> Teacher | None:
    """Teacher of a distilled trial, or None for other methods; call this before the student occupies memory.

    Raises:
        ConfigError: the configuration names no teacher.
        InputError: the run has no finished trial of that id.
        BundleError: the teacher's checkpoint cannot be opened.
    """
    if job.config.method != DISTILL:
        return None
    return Teacher(teacher_logits(job, device), job.training.distill)


def teacher_record(run: Storage, trial_id: str) -> TrialRecord:
    """Trial record of a teacher.

    Raises:
        InputError: the trial does not exist or did not finish.
    """
    record = None
    if trial_id:
        with suppress(FileNotFoundError):
            record = read_record(run, f"trials/{trial_id}/record.json", TrialRecord)
    if record is None or not record.checkpoint_uri or not record.variants:
        raise InputError(
            f"the teacher {trial_id!r} is not a finished trial of {run.uri}",
            fix="run the search again with --resume or --replace",
        )
    return record


def teacher_logits(job: TrialJob, device: str) -> Floats:
    """Logits of the trial ``job.config.teacher`` on the train split, float32 [n, c], memory-mapped.

    Of concurrent calls on a node, one computes the logits and the others wait for its lock. If the run folder is a
    bucket, each node has its own copy, and the bucket has one for nodes that join later.
    """
    if not job.config.teacher:
        raise ConfigError(
            f"{job.config.model_size} with method distill names no teacher: expected the id of a finished trial",
            fix="--set training.method=[full]",
        )
    run = Storage(job.run_uri)
    record = teacher_record(run, job.config.teacher)
    # Ids and URIs recur when a run is replaced; measurements and their times do not.
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

    logits = create_once(path, lambda: _open(path, rows), make)
    if logits is None or logits.shape[1] != len(job.labels):
        raise InputError(
            f"{path} does not contain the expected {rows} rows of {len(job.labels)} logits", fix="delete the file"
        )
    return logits


def _open(path: Path, rows: int) -> Floats | None:
    """Logits of a file; None if it is missing, truncated or of other data, in which case it is written again."""
    try:
        if not is_sealed(path):
            return None
        with pa.memory_map(str(path)) as source:
            logits = target_array(pa.ipc.open_file(source).get_batch(0).column("logits"))
    except (OSError, pa.ArrowException, KeyError, IndexError):
        return None
    return logits if len(logits) == rows else None


def _write(path: Path, logits: Floats) -> None:
    write_batch(pa.record_batch({"logits": target_column(logits)}), path)
    seal(path)


def _compute(job: TrialJob, record: TrialRecord, device: str) -> Floats:
    # A temporary folder: a checkpoint downloaded from a bucket is needed only once.
    with TemporaryDirectory(prefix="lft-teacher-") as cache:
        check_folder(record.checkpoint_uri, record.checkpoint_sha256)
        folder = Storage(record.checkpoint_uri).local_folder("", Path(cache))
        card = EngineCard.read(folder)
        if card.engine == "sklearn":
            return np.asarray(TfidfModel.load(folder).logits(load_split(job.dataset, "train").texts), np.float32)
        return _network_logits(job, folder, card.max_length, record.variants[0].precision, device)


def _network_logits(job: TrialJob, folder: Path, max_length: int, precision: str, device: str) -> Floats:
    """Logits of a network, computed as it was evaluated. Its tokenizer may differ from the student's."""
    network = load(folder).to(device)
    tokens = encode_split(job.dataset, "train", folder, node_folder(Storage(job.run_uri), "tokens"))
    batching = Batching(max_length, job.training.micro_batch_tokens, network.pad_id, device)
    as_served: ComputePrecision = "bf16" if precision == "bf16" else "fp32"
    # A group of one: the other processes of a sharded trial wait at the lock, not in a collective operation.
    return predict(network, tokens, batching, as_served, group=Group())
