"""Bundles: a trained folder with its task, samples and card, sealed. Write once, verify at every opening.

In: a checkpoint folder and an `ExportPlan`. Out: a `Bundle`, or an `OpenedBundle` that hands out a runner and a task.
Never trains, never serves.
"""

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from lft_ray.engines import ENGINES
from lft_ray.engines.base import EngineCard, Runner
from lft_ray.engines.batching import run_sorted
from lft_ray.engines.build import Built, build_folder
from lft_ray.errors import BundleError
from lft_ray.export.card import CardFacts, CardSubject, render_card
from lft_ray.plugins import resolve
from lft_ray.records import Bundle, Record
from lft_ray.run.storage import Storage
from lft_ray.tasks import TASKS
from lft_ray.tasks.base import Task

__all__ = [
    "MANIFEST",
    "TOLERANCES",
    "ExportPlan",
    "OpenedBundle",
    "PredictorSpec",
    "export_bundle",
    "open_bundle",
    "verify_manifest",
    "write_manifest",
]  # fmt: skip

MANIFEST = "manifest.json"
FORMAT = 1
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".joblib", ".ckpt", ".py", ".so")
"""Files that could run code when they are opened. No engine of ours writes or reads one."""


class FileDigest(Record):
    """One sealed file."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Manifest(Record):
    """``manifest.json``."""

    format: Literal[1]
    files: dict[str, FileDigest]


def write_manifest(folder: Path) -> str:
    """Write the manifest of a folder. Returns the version.

    Raises:
        BundleError: the folder holds a link or a file that could run code.
    """
    files = {name: _seal_of(folder / name) for name in _listed(folder) if name != MANIFEST}
    _refuse_names(folder, list(files))
    content = json.dumps(
        {"format": FORMAT, "files": {name: files[name].model_dump() for name in sorted(files)}}, indent=1
    )
    payload = (content + "\n").encode()
    (folder / MANIFEST).write_bytes(payload)
    return _version(payload)


def verify_manifest(folder: Path) -> tuple[str, int]:
    """Check every file of a folder against its manifest.

    Returns:
        The version and the bytes of all sealed files.

    Raises:
        BundleError: there is no manifest, it is of another format, or a file is missing, extra, a link or changed.
    """
    manifest, payload = _read(folder)
    _refuse_names(folder, list(manifest.files))
    present = {name for name in _listed(folder) if name != MANIFEST}
    missing, extra = sorted(manifest.files.keys() - present), sorted(present - manifest.files.keys())
    if missing or extra:
        raise BundleError(f"bundle {folder} is not as it was sealed: missing {missing}, extra {extra}", fix=_FIX)
    for name, expected in manifest.files.items():
        if _seal_of(folder / name) != expected:
            raise BundleError(f"bundle {folder}: {name} was changed after it was sealed", fix=_FIX)
    return _version(payload), sum(file.bytes for file in manifest.files.values())


_FIX = "export the bundle again, or copy it again from where it is whole"


def _read(folder: Path) -> tuple[Manifest, bytes]:
    path = folder / MANIFEST
    if not path.is_file() or path.is_symlink():
        raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}", fix="give the folder that lft export made")
    payload = path.read_bytes()
    try:
        raw = json.loads(payload)
    except ValueError as error:
        raise BundleError(f"{path} is not JSON: {error}", fix=_FIX) from error
    known = raw.get("format") if isinstance(raw, dict) else None
    if known != FORMAT:
        raise BundleError(
            f"bundle {folder} is of format {known!r}; this version reads {FORMAT}",
            fix="export it again with this version",
        )
    try:
        return Manifest.model_validate(raw), payload
    except ValidationError as error:
        raise BundleError(f"{path} is damaged: {error}", fix=_FIX) from error


def _listed(folder: Path) -> list[str]:
    """Relative names of all files below, POSIX style. Links are refused, also links to folders."""
    names = []
    for root, folders, files in os.walk(folder, followlinks=False):
        for name in [*folders, *files]:
            path = Path(root) / name
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise BundleError(f"bundle {folder} holds a link or a special file: {path.relative_to(folder)}")
        names += [(Path(root) / name).relative_to(folder).as_posix() for name in files]
    return sorted(names)


def _refuse_names(folder: Path, names: list[str]) -> None:
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or str(path) != name:
            raise BundleError(f"bundle {folder} names a file outside itself: {name!r}")
        if path.suffix.lower() in _PICKLES:
            raise BundleError(f"bundle {folder} holds {name!r}, a kind of file that can run code when opened")


def _seal_of(path: Path) -> FileDigest:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return FileDigest(sha256=digest, bytes=stream.tell())


def _version(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()[:12]


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
    """None: the engine that serves a checkpoint at this precision (`lft_ray.engines.build`)."""
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
        write_manifest(folder)
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
    version, size = verify_manifest(folder)
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
