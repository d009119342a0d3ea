"""Bundles: a trained folder with its task, samples and card, sealed. Write once, verify at every opening.

In: a checkpoint folder and an `ExportPlan`. Out: a `Bundle`, or an `OpenedBundle` that hands out a runner and a task.
Never trains, never serves.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from lft_ray.delivery import Bundle
from lft_ray.engines import ENGINES
from lft_ray.engines.base import EngineCard, Runner
from lft_ray.engines.batching import run_sorted
from lft_ray.engines.serving import Built, build_folder
from lft_ray.errors import BundleError
from lft_ray.export.card import CardFacts, CardSubject, render_card
from lft_ray.export.seal import MANIFEST, check_seal, seal
from lft_ray.plugins import resolve
from lft_ray.records import Record
from lft_ray.storage import Storage
from lft_ray.tasks import TASKS
from lft_ray.tasks.base import Task

__all__ = ["TOLERANCES", "ExportPlan", "OpenedBundle", "PredictorSpec", "export_bundle", "open_bundle"]

PREDICTOR = "predictor.json"
SMOKE = "smoke.json"
CARD = "MODEL_CARD.md"
TOLERANCES = {"fp32": 1e-3, "bf16": 5e-2, "int8": 0.1}
"""Largest change of a probability between the machine that exported and the one that opens, by precision."""


class PredictorSpec(Record):
    """``predictor.json``: how the bundle answers."""

    task_kind: str
    labels: list[str]
    engine: str
    precision: str
    model_size: str
    max_length: int
    metric: str = "macro_f1"


class Smoke(Record):
    """``smoke.json``: a few texts and the logits that the engine gave at export."""

    texts: list[str]
    logits: list[list[float]]


class ExportPlan(Record):
    """What to make of a checkpoint folder."""

    precision: str
    engine: str | None = None
    """None: the engine that serves a checkpoint at this precision (`lft_ray.engines.serving`)."""
    max_length: int | None = None
    """Tokens that are kept of a text, at most those it was trained with; None: those."""
    task_kind: str
    labels: list[str]
    samples: list[str]
    """1 to 64 texts that an opened bundle is tried on. They are stored in the bundle: give none that is secret."""
    facts: CardFacts


@dataclass(frozen=True, slots=True)
class OpenedBundle:
    """A verified bundle."""

    folder: Path
    bundle: Bundle
    spec: PredictorSpec
    smoke: Smoke

    def task(self) -> Task:
        """The bundle's task, with its labels."""
        return make_task(self.spec.task_kind, self.spec.labels)

    def open_runner(self, *, threads: int = 1) -> Runner:
        """Open the engine.

        Raises:
            BundleError: the engine cannot open the files.
        """
        engine = resolve(self.spec.engine, ENGINES, where="engine of the bundle")
        runner: Runner = engine.open(self.folder, precision=self.spec.precision, threads=threads)
        return runner

    def verify_smoke(self, runner: Runner) -> None:
        """Run the sample texts and compare with the logits of the export.

        Raises:
            BundleError: the answers have another shape, are not finite, or differ by more than `TOLERANCES`.
        """
        got = run_sorted(runner, self.smoke.texts)
        task = self.task()
        _check_answers(got, (len(self.smoke.texts), task.outputs), f"bundle {self.bundle.version}")
        expected = task.probabilities(np.asarray(self.smoke.logits, dtype=np.float32))
        worst = float(np.abs(task.probabilities(got) - expected).max())
        limit = TOLERANCES[self.spec.precision]
        if worst > limit:
            raise BundleError(
                f"bundle {self.bundle.version} answers its sample texts differently here: a probability is off by "
                f"{worst:.4f}, allowed is {limit}",
                fix="export the bundle again on this kind of machine",
            )


def make_task(kind: str, labels: list[str]) -> Task:
    """Make a task from its kind and labels."""
    task: Task = resolve(kind, TASKS, where="task.kind")(labels)
    return task


def export_bundle(source: Path, plan: ExportPlan, target: Storage, name: str) -> Bundle:
    """Make a sealed bundle of a checkpoint folder, try it, and store it.

    The same checkpoint, plan and processor give the same version.

    Args:
        source: folder that a trial wrote; it stays as it is. What is sealed is what the serving engine makes of it.
        plan: precision, length, task, samples and the facts of the card.
        target: where the bundle goes.
        name: its folder there.

    Raises:
        BundleError: the source cannot be opened, does not fit the task or the length, or answers NaN.
        NotExportableError: its architecture cannot be served at this precision.
        ConfigError: the engine or the task is unknown.
    """
    _check_plan(plan, EngineCard.read(source).cut_at(plan.max_length))
    with tempfile.TemporaryDirectory(prefix="lft-bundle-") as scratch:
        folder = Path(scratch) / "bundle"
        built = build_folder(source, folder, precision=plan.precision, max_length=plan.max_length, engine=plan.engine)
        facts = (
            plan.facts
            if not built.note
            else plan.facts.replace(serving_note=f"{plan.facts.serving_note} {built.note}".strip())
        )
        spec = _spec(built, plan)
        logits = run_sorted(built.open(threads=1), plan.samples)
        _check_answers(logits, (len(plan.samples), built.card.outputs), f"the checkpoint {source}")
        _write(folder / PREDICTOR, spec.model_dump())
        _write(folder / SMOKE, {"texts": plan.samples, "logits": logits.tolist()})
        subject = CardSubject(**spec.model_dump(exclude={"metric"}))
        (folder / CARD).write_text(render_card(subject, facts), encoding="utf-8")
        seal(folder)
        bundle = open_bundle(folder).bundle
        uri = target.put_folder(name, folder)
        return bundle.replace(uri=uri, note=facts.serving_note)


def _spec(built: Built, plan: ExportPlan) -> PredictorSpec:
    return PredictorSpec(
        task_kind=plan.task_kind,
        labels=plan.labels,
        engine=built.card.engine,
        precision=plan.precision,
        model_size=built.card.model_size,
        max_length=built.card.max_length,
        metric=plan.facts.metric,
    )


def open_bundle(folder: Path) -> OpenedBundle:
    """Verify a bundle and read what it says of itself. Loads no weights.

    Args:
        folder: a local folder (see `Storage.local_folder`).

    Raises:
        BundleError: it is damaged, changed, foreign or of another format.
    """
    version, size = check_seal(folder)
    try:
        spec = PredictorSpec.model_validate_json((folder / PREDICTOR).read_bytes())
        smoke = Smoke.model_validate_json((folder / SMOKE).read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleError(f"bundle {folder} lacks or misstates {PREDICTOR} or {SMOKE}: {error}") from error
    card = EngineCard.read(folder)
    fits = (card.engine, card.max_length) == (spec.engine, spec.max_length) and spec.precision in TOLERANCES
    if not fits or card.precision not in ("", spec.precision):
        raise BundleError(f"bundle {folder}: {PREDICTOR} and the engine card do not fit each other")
    if not smoke.texts or len(smoke.texts) != len(smoke.logits):
        raise BundleError(f"bundle {folder}: {SMOKE} holds {len(smoke.texts)} texts and {len(smoke.logits)} answers")
    bundle = Bundle(
        uri=str(folder),
        version=version,
        engine=spec.engine,
        precision=spec.precision,
        task_kind=spec.task_kind,
        labels=spec.labels,
        model_size=spec.model_size,
        max_length=spec.max_length,
        bytes=size + (folder / MANIFEST).stat().st_size,
    )
    return OpenedBundle(folder, bundle, spec, smoke)


def _check_plan(plan: ExportPlan, card: EngineCard) -> None:
    if plan.precision not in TOLERANCES:
        raise BundleError(f"unknown precision {plan.precision!r}: expected one of {', '.join(TOLERANCES)}")
    outputs = make_task(plan.task_kind, plan.labels).outputs
    if outputs != card.outputs:
        raise BundleError(f"the checkpoint answers {card.outputs} logits, the task of {plan.labels} needs {outputs}")
    if not 1 <= len(plan.samples) <= 64:
        raise BundleError(f"a bundle needs 1 to 64 sample texts, got {len(plan.samples)}")


def _check_answers(logits: NDArray[np.float32], shape: tuple[int, int], where: str) -> None:
    if logits.shape != shape:
        raise BundleError(f"{where} answers {logits.shape} logits, expected {shape}")
    if not np.isfinite(logits).all():
        raise BundleError(f"{where} answers numbers that are not finite (NaN or infinity)")


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
