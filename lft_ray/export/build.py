"""Export a finished trial to the run folder, with a parity check and fallbacks. In: records. Out: a `Bundle`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lft_ray.candidates import Candidates
from lft_ray.cluster.environment import environment
from lft_ray.config import DistillSpec
from lft_ray.config.methods import FREEZE, LINEAR_PROBE, LORA
from lft_ray.data.store import MOST_TEXTS, load_split
from lft_ray.engines.onnx_build import NotExportableError
from lft_ray.errors import InputError
from lft_ray.export.bundle import ExportPlan, export_bundle
from lft_ray.export.card import CardFacts
from lft_ray.export.parity import ParityError, check_parity
from lft_ray.models.ladder import LADDER
from lft_ray.records import Bundle, DatasetRecord, ScoredVariant, Selection, TrialRecord, TrialStatus, Variant
from lft_ray.run.checksums import check_folder
from lft_ray.run.storage import Storage
from lft_ray.selection.predictions import saved_predictions
from lft_ray.texts import Text

__all__ = ["CANDIDATE", "ExportJob", "export_trial"]

CANDIDATE = "bundle-candidate"
"""Name of a bundle until it has passed the parity check; what a killed export left is removed by the next driver."""
PARITY_ROWS = 512
"""Number of validation texts in the parity check: one or two seconds on one core."""
SAMPLES = (
    "This is a short text.",
    "Nobody expected that answer, and yet it was the right one.",
    "Is there anything else that I can help you with today?",
    "12 of 30 were late: why?",
)
"""Texts of the smoke test in the bundle. They are ours: a bundle is passed on, and the user's texts must not be."""


@dataclass(frozen=True, slots=True)
class ExportJob:
    """The run whose trials are exported.

    Attributes:
        name: name of the run, for the card.
        candidates: models, task and price.
        dataset: prepared data: labels, and the validation split for the parity check.
        selection: the selection, for the card of the winner; None: nothing was selected.
        target: storage of the run folder.
        distill: settings of distillation, for the card.
    """

    name: str
    candidates: Candidates
    dataset: DatasetRecord
    selection: Selection | None
    target: Storage
    distill: DistillSpec

    def selection_of(self, record: TrialRecord) -> Selection | None:
        """The selection if the record is its winner, else None."""
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
    """Export the checkpoint of ``record`` to ``bundle/`` in the run folder.

    If the bundle does not reproduce the predictions of the trainer, or its engine cannot be built, the next alternative
    is tried: int8, fp32 in onnxruntime, fp32 in torch. Bundle and card then state the reason.

    Args:
        record: a finished trial.
        job: the run of the trial.
        teacher: the teacher of a distilled trial, if its record still exists.
        name: name of the folder of the bundle.
        variant: precision and length of the bundle; None: those of the selection if the record is its winner, else
            the first variant.

    Raises:
        InputError: the trial did not finish.
        BundleError: the last alternative fails the parity check as well; then nothing is stored.
    """
    if record.status is not TrialStatus.DONE or not record.variants:
        raise InputError(f"trial {record.trial_id} ended as {record.status}: only a finished trial can be exported")
    chosen = job.selection_of(record)
    training, notes = _training(record, teacher, job.distill), _precision_notes(chosen)
    attempts = _attempts(record, variant or _variant(record, chosen))
    for attempt in attempts:
        facts = _facts(record, attempt.variant, job, chosen)
        facts = facts.replace(training=training, serving_note=". ".join(notes))
        plan = _plan(attempt, facts, job.dataset, as_won=attempt.variant == attempts[0].variant)
        try:
            bundle = _export_with_parity(record, attempt.variant, plan, job, name)
            asked = attempts[0].variant
            return bundle.replace(asked=Variant(precision=asked.precision, max_length=asked.max_length))
        except (ParityError, NotExportableError) as error:
            if attempt == attempts[-1]:
                raise
            notes.append(f"Not served in {attempt.variant.precision}, in which it won: {error.message}")
    raise AssertionError("there is at least one attempt, and the last one raises")


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A variant, and the engine that serves it; None: the default engine of its precision."""

    variant: ScoredVariant
    engine: str | None = None


def _attempts(record: TrialRecord, variant: ScoredVariant) -> list[_Attempt]:
    """The selected variant, then the more exact alternatives, whatever they cost."""
    attempts = [_Attempt(variant)]
    exact = record.variant("fp32", variant.max_length)
    if exact is not None and exact != variant:
        attempts.append(_Attempt(exact))
    # A trial without a learning rate is TF-IDF with a linear model, which torch cannot serve.
    if exact is not None and record.config.learning_rate is not None:
        attempts.append(_Attempt(exact, "torch"))
    return attempts


def _plan(attempt: _Attempt, facts: CardFacts, dataset: DatasetRecord, *, as_won: bool) -> ExportPlan:
    """The plan of an attempt, with a card of only those facts that hold for its engine and variant."""
    if attempt.engine is not None:
        # Neither its dollars nor its latency were measured with this engine.
        facts = facts.replace(usd_per_million_predictions=None, p95_ms=None)
    if not as_won:
        # The test split was evaluated once, with the variant that won.
        facts = facts.replace(test={}, test_rows=0, test_interval=None, validation_interval=None, panels=[])
    return ExportPlan(
        precision=attempt.variant.precision,
        engine=attempt.engine,
        max_length=attempt.variant.max_length,
        task_kind=dataset.task_kind,
        labels=dataset.labels,
        samples=_samples(dataset),
        card=facts,
        other_facts=dataset.other_facts,
    )


def _samples(dataset: DatasetRecord) -> list[Text]:
    """Texts of the smoke test, which are public: made up, and the names of labels. Pairs pair each with the next."""
    texts = [*SAMPLES, *(label.replace("_", " ") for label in dataset.labels[:12])]
    if len(dataset.columns) == MOST_TEXTS:
        return list(texts)
    return list(zip(texts, [*texts[1:], texts[0]], strict=True))


def _precision_notes(chosen: Selection | None) -> list[str]:
    """Results of the precision checks, of the winner and of the variants that were excluded."""
    return [check.reason for check in chosen.precision_checks] if chosen else []


def _export_with_parity(
    record: TrialRecord, variant: ScoredVariant, plan: ExportPlan, job: ExportJob, name: str
) -> Bundle:
    """Export under a temporary name and compare with the trainer; only a bundle that passes gets its final name."""
    target = job.target
    logits = _trainer_logits(variant)[:PARITY_ROWS]
    split = load_split(job.dataset, "validation")
    check_folder(record.checkpoint_uri, record.checkpoint_sha256)
    try:
        with Storage(record.checkpoint_uri).local_copy() as checkpoint:
            bundle = export_bundle(checkpoint, plan, target, CANDIDATE)
        with target.local_copy(CANDIDATE) as candidate:
            check_parity(candidate, split.texts[: len(logits)], logits)
            uri = target.put_folder(name, candidate)
    finally:
        target.delete_folder(CANDIDATE)
    return bundle.replace(uri=uri, trial_id=record.trial_id)


def _variant(record: TrialRecord, chosen: Selection | None) -> ScoredVariant:
    if chosen is None:
        return record.variants[0]
    won = record.variant(chosen.winner.precision, chosen.winner.max_length)
    if won is None:
        raise InputError(
            f"trial {record.trial_id} was not evaluated in {chosen.winner.precision}, the precision of the winner"
        )
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
        panels=chosen.panels if chosen else [],
        train_rows=dataset.splits["train"].rows,
        data_fingerprint=dataset.fingerprint,
        usd_per_million_predictions=variant.usd_per_million_predictions,
        price=candidates.price.name,
        p95_ms=variant.p95_ms,
        policy=chosen.policy if chosen else "",
        reason=chosen.reason if chosen else "",
        remarks=chosen.remarks if chosen else [],
        verdict=chosen.verdict.words if chosen else "",
        validation_interval=chosen.checkpoint_f1_interval if chosen else None,
        test_interval=chosen.test_f1_interval if chosen else None,
        made_with=", ".join(f"{name} {versions[name]}" for name in ("lft-ray", "torch", "onnxruntime", "scikit-learn")),
    )


def _training(record: TrialRecord, teacher: TrialRecord | None, distill: DistillSpec) -> str:
    """Teacher of a distilled model, or the part that was trained; empty for plain fine-tuning."""
    config = record.config
    if not config.teacher:
        return {
            FREEZE: f"embeddings and the first {config.frozen_layers} layers frozen",
            LORA: f"low-rank factors (rank {config.lora_rank}, alpha {config.lora_alpha or 0:g}), merged",
            LINEAR_PROBE: "the linear head alone",
        }.get(config.method, "")
    # Of a local folder only the last component, as for the base itself.
    size = "an earlier trial" if teacher is None else Path(teacher.config.model_size).name
    how = f"at weight {distill.weight:g}, temperature {distill.temperature:g}"
    return f"distilled from {size} ({record.config.teacher}) {how}"


def _base_name(base: str) -> str:
    """Hub id of a ladder entry; of a local folder only the last component, since paths can be private."""
    if base in LADDER:
        return LADDER[base].hub_id
    is_hub_id = base.count("/") == 1 and base[0].isalnum()
    return base if is_hub_id else Path(base).name


def _trainer_logits(variant: ScoredVariant) -> NDArray[np.float32]:
    """Validation logits that the trial saved, float32 [n, c], in the order of the rows of the split."""
    column = saved_predictions(variant)["logits"].combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    logits: NDArray[np.float32] = flat.reshape(len(column), -1)
    return logits
