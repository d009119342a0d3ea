"""From a finished trial to a bundle in the run folder, with its parity check. In: records. Out: a `Bundle`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import BufferReader

from lft_ray.candidates import Candidates
from lft_ray.cluster.environment import environment
from lft_ray.config import DistillSpec
from lft_ray.config.methods import FREEZE, LINEAR_PROBE, LORA
from lft_ray.data.store import load_split
from lft_ray.engines.onnx_build import NotExportableError
from lft_ray.errors import InputError
from lft_ray.export.bundle import ExportPlan, export_bundle
from lft_ray.export.card import CardFacts, LabelScoreRow
from lft_ray.export.parity import ParityError, check_parity
from lft_ray.models.ladder import LADDER
from lft_ray.records import Bundle, DatasetRecord, ScoredVariant, Selection, TrialRecord, TrialStatus
from lft_ray.run.storage import Storage

__all__ = ["ExportJob", "export_trial"]

PARITY_ROWS = 512
"""Validation texts that the bundle must answer as training did: a second or two of one core."""
SAMPLES = (
    "This is a short text.",
    "Nobody expected that answer, and yet it was the right one.",
    "Is there anything else that I can help you with today?",
    "12 of 30 were late: why?",
)
"""Texts of our own for the bundle's smoke sample: a bundle travels, and the user's texts must not travel with it."""


@dataclass(frozen=True, slots=True)
class ExportJob:
    """A run whose trials are exported.

    Attributes:
        name: of the run, for the card.
        candidates: models, task and price.
        dataset: labels; its validation split is the parity sample.
        selection: test scores of the winner, for its card; None: nothing was selected.
        target: the run folder.
        distill: how distilled trials were taught, for the card.
    """

    name: str
    candidates: Candidates
    dataset: DatasetRecord
    selection: Selection | None
    target: Storage
    distill: DistillSpec

    def chosen(self, record: TrialRecord) -> Selection | None:
        """The selection where the record is the one it chose, else None."""
        selection = self.selection
        return selection if selection and record.trial_id == selection.winner_seed_trial_id else None


def export_trial(
    record: TrialRecord,
    job: ExportJob,
    *,
    teacher: TrialRecord | None = None,
    name: str = "bundle",
    variant: ScoredVariant | None = None,
) -> Bundle:
    """Make ``bundle/`` in the run folder from the checkpoint of ``record``.

    Args:
        record: a finished trial.
        job: the run it is of.
        teacher: whom a distilled one learned from, where that is still known.
        name: the bundle's folder there.
        variant: precision and length of the bundle; None: the winner's where the record is its, else the first.

    Where the bundle answers otherwise than the trainer did, or its engine cannot be built, the next way of serving is
    taken: int8, fp32 in onnxruntime, fp32 in torch. Bundle and card then say so.

    Raises:
        InputError: the trial did not finish.
        BundleError: the answers of the last way differ from the trainer's, too; nothing is kept then.
    """
    if record.status is not TrialStatus.DONE or not record.variants:
        raise InputError(f"trial {record.trial_id} ended as {record.status}: only a finished trial can be exported")
    chosen = job.chosen(record)
    training, notes = _training(record, teacher, job.distill), _checked(chosen)
    attempts = _attempts(record, variant or _variant(record, chosen))
    for attempt in attempts:
        facts = _facts(record, attempt.variant, job, chosen)
        facts = facts.replace(training=training, serving_note=". ".join(notes))
        plan = _plan(attempt, facts, job.dataset, as_won=attempt.variant == attempts[0].variant)
        try:
            return _proved(record, attempt.variant, plan, job, name)
        except (ParityError, NotExportableError) as error:
            if attempt == attempts[-1]:
                raise
            notes.append(f"Not served in {attempt.variant.precision} as it won: {error.message}")
    raise AssertionError("there is always an attempt")


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A variant, and the engine to serve it with; None: the one of choice."""

    variant: ScoredVariant
    engine: str | None = None


def _attempts(record: TrialRecord, variant: ScoredVariant) -> list[_Attempt]:
    """The variant as it won, then what answers more exactly, dearer or not."""
    attempts = [_Attempt(variant)]
    exact = record.variant("fp32", variant.max_length)
    if exact is not None and exact != variant:
        attempts.append(_Attempt(exact))
    if exact is not None and record.config.learning_rate is not None:
        attempts.append(_Attempt(exact, "torch"))
    return attempts


def _plan(attempt: _Attempt, facts: CardFacts, dataset: DatasetRecord, *, as_won: bool) -> ExportPlan:
    """What to make of the checkpoint; the card holds what is true of this way of serving it."""
    if attempt.engine is not None:
        # Neither its dollars nor its latency were measured with this engine.
        facts = facts.replace(usd_per_million_predictions=None, p95_ms=None)
    if not as_won:
        # The test split was looked at once, as the winner was to be served.
        facts = facts.replace(test={}, test_rows=0, per_label=[])
    return ExportPlan(
        precision=attempt.variant.precision,
        engine=attempt.engine,
        max_length=attempt.variant.max_length,
        task_kind=dataset.task_kind,
        labels=dataset.labels,
        samples=[*SAMPLES, *(label.replace("_", " ") for label in dataset.labels[:12])],
        facts=facts,
    )


def _checked(chosen: Selection | None) -> list[str]:
    """What was found about the winner's precision, and about those that may not be shipped."""
    return [check.reason for check in chosen.precision_checks] if chosen else []


def _proved(record: TrialRecord, variant: ScoredVariant, plan: ExportPlan, job: ExportJob, name: str) -> Bundle:
    """Export, compare with the trainer's answers, and only then take the name: a bundle that fails never has it."""
    target = job.target
    trial = export_bundle(Storage(record.checkpoint_uri).local_folder(""), plan, target, "bundle-candidate")
    try:
        split = load_split(job.dataset, "validation")
        logits = _predictions(variant.predictions_uri)[:PARITY_ROWS]
        check_parity(target.local_folder("bundle-candidate"), split.texts[: len(logits)], logits)
        uri = target.put_folder(name, target.local_folder("bundle-candidate"))
    finally:
        target.delete_folder("bundle-candidate")
    return trial.replace(uri=uri)


def _variant(record: TrialRecord, chosen: Selection | None) -> ScoredVariant:
    if chosen is None:
        return record.variants[0]
    won = record.variant(chosen.winner.precision, chosen.winner.max_length)
    if won is None:
        raise InputError(f"trial {record.trial_id} was not scored at {chosen.winner.precision}, as the winner was")
    return won


def _facts(record: TrialRecord, variant: ScoredVariant, job: ExportJob, chosen: Selection | None) -> CardFacts:
    candidates, dataset, versions = job.candidates, job.dataset, environment()
    size = candidates.size(record.config.model_size)
    return CardFacts(
        name=job.name,
        base_model="" if size.is_linear else _base_name(size.base),
        base_revision=candidates.revisions.get(size.base, ""),
        base_licence="" if size.is_linear else size.licence,
        metric=candidates.task.metric,
        validation=variant.metrics,
        test=chosen.test_metrics if chosen else {},
        test_rows=chosen.test_rows if chosen else 0,
        per_label=[LabelScoreRow.model_validate(row) for row in chosen.per_label] if chosen else [],
        train_rows=dataset.splits["train"].rows,
        data_fingerprint=dataset.fingerprint,
        usd_per_million_predictions=variant.usd_per_million_predictions,
        price=candidates.price.name,
        p95_ms=variant.p95_ms,
        policy=chosen.policy if chosen else "",
        reason=chosen.reason if chosen else "",
        made_with=", ".join(f"{name} {versions[name]}" for name in ("lft-ray", "torch", "onnxruntime", "scikit-learn")),
    )


def _training(record: TrialRecord, teacher: TrialRecord | None, distill: DistillSpec) -> str:
    """What a distilled model learned from, or what of it was trained; empty for plain fine-tuning."""
    config = record.config
    if not config.teacher:
        return {
            FREEZE: f"embeddings and the first {config.frozen_layers} layers as they came",
            LORA: f"low-rank factors (rank {config.lora_rank}, alpha {config.lora_alpha or 0:g}), merged",
            LINEAR_PROBE: "the linear head alone",
        }.get(config.method, "")
    # Of a local folder only its last name, as for the base itself.
    size = "an earlier trial" if teacher is None else Path(teacher.config.model_size).name
    how = f"at weight {distill.weight:g}, temperature {distill.temperature:g}"
    return f"distilled from {size} ({record.config.teacher}) {how}"


def _base_name(base: str) -> str:
    """Hub id of a ladder entry; of a local folder only its last name, since a path says where somebody works."""
    return (
        LADDER[base].hub_id
        if base in LADDER
        else base
        if base.count("/") == 1 and base[0].isalnum()
        else Path(base).name
    )


def _predictions(uri: str) -> NDArray[np.float32]:
    folder, _, name = uri.rpartition("/")
    column = pq.read_table(BufferReader(Storage(folder).get(name)))["logits"].combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    logits: NDArray[np.float32] = flat.reshape(len(column), -1)
    return logits
