"""From a finished trial to a bundle in the run folder, with its parity check. In: records. Out: a `Bundle`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import BufferReader

from lft_ray.config import Experiment
from lft_ray.cost.prices import price_of
from lft_ray.data.store import load_split
from lft_ray.decision import Selection
from lft_ray.delivery import Bundle
from lft_ray.engines.onnx_build import NotExportableError
from lft_ray.environment import environment
from lft_ray.errors import InputError
from lft_ray.export.bundle import ExportPlan, export_bundle
from lft_ray.export.card import CardFacts, LabelScoreRow
from lft_ray.export.parity import ParityError, check_parity
from lft_ray.ledger import Ledger
from lft_ray.methods import FROZEN, HEAD, LORA
from lft_ray.models.base import find_size
from lft_ray.models.ladder import LADDER
from lft_ray.models.resolve import find_base
from lft_ray.records import DatasetRecord, TrialRecord, TrialStatus, Variant
from lft_ray.storage import Storage

__all__ = ["export_trial"]

PARITY_ROWS = 512
"""Validation texts that the bundle must answer as training did: a second or two of one core."""
SAMPLES = (
    "This is a short text.",
    "Nobody expected that answer, and yet it was the right one.",
    "Is there anything else that I can help you with today?",
    "12 of 30 were late: why?",
)
"""Texts of our own for the bundle's smoke sample: a bundle travels, and the user's texts must not travel with it."""


def export_trial(
    record: TrialRecord,
    *,
    experiment: Experiment,
    dataset: DatasetRecord,
    selection: Selection | None,
    target: Storage,
    name: str = "bundle",
    variant: Variant | None = None,
) -> Bundle:
    """Make ``bundle/`` in the run folder from the checkpoint of ``record``.

    Args:
        record: a finished trial.
        experiment: names, models and prices for the card.
        dataset: labels; its validation split is the parity sample.
        selection: when the record is the one it chose, its test scores stand on the card.
        target: the run folder.
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
    chosen = selection if selection and record.trial_id == selection.winner_seed_trial_id else None
    training, notes = _training(record, experiment, target), _checked(chosen)
    ways = _ways(record, variant or _variant(record, chosen))
    for way in ways:
        facts = _facts(record, way.variant, experiment, dataset, chosen)
        facts = facts.model_copy(update={"training": training, "serving_note": ". ".join(notes)})
        plan = _plan(way, facts, dataset, as_won=way.variant == ways[0].variant)
        try:
            return _proved(record, way.variant, plan, dataset, (target, name))
        except (ParityError, NotExportableError) as error:
            if way == ways[-1]:
                raise
            notes.append(f"Not served in {way.variant.precision} as it won: {error.message}")
    raise AssertionError("there is always a way")


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to serve a checkpoint; engine None: the one of choice."""

    variant: Variant
    engine: str | None = None


def _ways(record: TrialRecord, variant: Variant) -> list[_Way]:
    """The variant as it won, then what answers more exactly, dearer or not."""
    ways = [_Way(variant)]
    exact = next((v for v in record.variants if (v.precision, v.max_length) == ("fp32", variant.max_length)), None)
    if exact is not None and exact != variant:
        ways.append(_Way(exact))
    if exact is not None and record.config.learning_rate is not None:
        ways.append(_Way(exact, "torch"))
    return ways


def _plan(way: _Way, facts: CardFacts, dataset: DatasetRecord, *, as_won: bool) -> ExportPlan:
    """What to make of the checkpoint; the card holds what is true of this way of serving it."""
    if way.engine is not None:
        # Neither its dollars nor its latency were measured with this engine.
        facts = facts.model_copy(update={"usd_per_million_predictions": None, "p95_ms": None})
    if not as_won:
        # The test split was looked at once, as the winner was to be served.
        facts = facts.model_copy(update={"test": {}, "test_rows": 0, "per_label": []})
    return ExportPlan(
        precision=way.variant.precision,
        engine=way.engine,
        max_length=way.variant.max_length,
        task_kind=dataset.task_kind,
        labels=dataset.labels,
        samples=[*SAMPLES, *(label.replace("_", " ") for label in dataset.labels[:12])],
        facts=facts,
    )


def _checked(chosen: Selection | None) -> list[str]:
    """What was found about the winner's precision, and about those that may not be shipped."""
    return [check.reason for check in chosen.precision_checks] if chosen else []


def _proved(
    record: TrialRecord, variant: Variant, plan: ExportPlan, dataset: DatasetRecord, place: tuple[Storage, str]
) -> Bundle:
    """Export, compare with the trainer's answers, and only then take the name: a bundle that fails never has it."""
    target, name = place
    trial = export_bundle(Storage(record.checkpoint_uri).local_folder(""), plan, target, "bundle-candidate")
    try:
        split = load_split(dataset, "validation")
        logits = _predictions(variant.predictions_uri)[:PARITY_ROWS]
        check_parity(target.local_folder("bundle-candidate"), split.texts[: len(logits)], logits)
        uri = target.put_folder(name, target.local_folder("bundle-candidate"))
    finally:
        target.delete_folder("bundle-candidate")
    return trial.model_copy(update={"uri": uri})


def _variant(record: TrialRecord, chosen: Selection | None) -> Variant:
    if chosen is None:
        return record.variants[0]
    point = chosen.winner
    return next(v for v in record.variants if (v.precision, v.max_length) == (point.precision, point.max_length))


def _facts(
    record: TrialRecord, variant: Variant, experiment: Experiment, dataset: DatasetRecord, chosen: Selection | None
) -> CardFacts:
    spec, size = find_size(experiment.models, record.config.model_size)
    base = None if size.is_linear else find_base(spec)
    versions = environment()
    return CardFacts(
        name=experiment.name,
        base_model="" if base is None else _base_name(size.base),
        base_revision="" if base is None else base.revision,
        base_licence="" if base is None else size.licence,
        metric=experiment.task.metric,
        validation=variant.metrics,
        test=chosen.test_metrics if chosen else {},
        test_rows=chosen.test_rows if chosen else 0,
        per_label=[LabelScoreRow.model_validate(row) for row in chosen.per_label] if chosen else [],
        train_rows=dataset.splits["train"].rows,
        data_fingerprint=dataset.fingerprint,
        usd_per_million_predictions=variant.usd_per_million_predictions,
        price=price_of(experiment.cost).name,
        p95_ms=variant.p95_ms,
        policy=chosen.policy if chosen else "",
        reason=chosen.reason if chosen else "",
        made_with=", ".join(f"{name} {versions[name]}" for name in ("lft-ray", "torch", "onnxruntime", "scikit-learn")),
    )


def _training(record: TrialRecord, experiment: Experiment, run: Storage) -> str:
    """What a distilled model learned from, or what of it was trained; empty for plain fine-tuning."""
    config = record.config
    if not config.teacher:
        return {
            FROZEN: f"embeddings and the first {config.frozen_layers} layers as they came",
            LORA: f"low-rank factors (rank {config.lora_rank}, alpha {config.lora_alpha or 0:g}), merged",
            HEAD: "the linear head alone",
        }.get(config.method, "")
    teacher, spec = Ledger(run).get(record.config.teacher), experiment.training.distil
    # Of a local folder only its last name, as for the base itself.
    size = "an earlier trial" if teacher is None else Path(teacher.config.model_size).name
    return (
        f"distilled from {size} ({record.config.teacher}) at weight {spec.weight:g}, temperature {spec.temperature:g}"
    )


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
