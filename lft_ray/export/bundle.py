"""Bundles: an engine folder with its task, smoke test, model card and a manifest of checksums.

Written once, verified each time it is opened. First the manifest, then the bundle itself: export, opening, smoke test.
In: a checkpoint folder and an `ExportPlan`. Out: a `Bundle`, or an `OpenedBundle` that provides a runner and a task.
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
from pydantic import Field, JsonValue, ValidationError

from lft_ray.engines import ENGINES
from lft_ray.engines.base import EngineCard, Runner
from lft_ray.engines.batching import run_sorted
from lft_ray.engines.build import Built, build_folder
from lft_ray.errors import BundleError
from lft_ray.export.bom import render_bom
from lft_ray.export.card import CardFacts, CardSubject, render_card
from lft_ray.plugins import resolve
from lft_ray.records import Bundle, Learned, Record
from lft_ray.run.storage import Storage
from lft_ray.tasks.base import Task
from lft_ray.tasks.find import make_task
from lft_ray.texts import Text

__all__ = [
    "MANIFEST",
    "SIGNATURE",
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
PREDICTOR = "predictor.json"
SMOKE = "smoke.json"
CARD = "MODEL_CARD.md"
BOM = "bom.json"
SIGNATURE = "model.sig"
"""Signature made after the manifest, which therefore does not list it (`lft_ray.export.signature`)."""
FORMAT = 1
TOLERANCES = {"fp32": 1e-3, "bf16": 5e-2, "int8": 0.1}
"""Largest allowed change of a score between the exporting and the opening machine, by precision."""
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".joblib", ".ckpt", ".py", ".so")
"""Files that could run code when opened. No built-in engine writes or reads one."""
_UNLISTED = frozenset({MANIFEST, SIGNATURE})
_FIX = "export the bundle again, or copy it again from an intact source"


class FileDigest(Record):
    """Checksum and size of one file of a bundle."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Manifest(Record):
    """``manifest.json``: a digest of every other file of the bundle."""

    format: Literal[1]
    files: dict[str, FileDigest]


def write_manifest(folder: Path) -> str:
    """Write the manifest of a folder. Returns the version, a hash of the manifest.

    Raises:
        BundleError: the folder contains a link or a file that could run code.
    """
    files = {name: _digest_of(folder / name) for name in _listed(folder) if name not in _UNLISTED}
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
        The version, and the total size of the listed files in bytes.

    Raises:
        BundleError: there is no manifest, it has another format, or a file is missing, extra, a link or changed.
    """
    manifest, payload = _read(folder)
    _refuse_names(folder, list(manifest.files))
    present = {name for name in _listed(folder) if name not in _UNLISTED}
    missing, extra = sorted(manifest.files.keys() - present), sorted(present - manifest.files.keys())
    if missing or extra:
        raise BundleError(f"bundle {folder} does not match its manifest: missing {missing}, extra {extra}", fix=_FIX)
    for name, expected in manifest.files.items():
        if _digest_of(folder / name) != expected:
            raise BundleError(f"bundle {folder}: {name} was changed after the export", fix=_FIX)
    return _version(payload), sum(file.bytes for file in manifest.files.values())


def _read(folder: Path) -> tuple[Manifest, bytes]:
    path = folder / MANIFEST
    if not path.is_file() or path.is_symlink():
        raise BundleError(
            f"{folder} is not a bundle: it has no {MANIFEST}", fix="pass a folder that `lft export` wrote"
        )
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
    """Relative POSIX paths of all files below ``folder``. Links are refused, links to folders included."""
    names = []
    for root, folders, files in os.walk(folder, followlinks=False):
        for name in [*folders, *files]:
            path = Path(root) / name
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise BundleError(f"bundle {folder} contains a link or a special file: {path.relative_to(folder)}")
        names += [(Path(root) / name).relative_to(folder).as_posix() for name in files]
    return sorted(names)


def _refuse_names(folder: Path, names: list[str]) -> None:
    """Refuse paths that leave the folder, and file types that can run code.

    Raises:
        BundleError: naming the file.
    """
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or str(path) != name:
            raise BundleError(f"bundle {folder} lists a file outside its folder: {name!r}")
        if path.suffix.lower() in _PICKLES:
            raise BundleError(f"bundle {folder} contains {name!r}, a type of file that can run code when opened")


def _digest_of(path: Path) -> FileDigest:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return FileDigest(sha256=digest, bytes=stream.tell())


def _version(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()[:12]


class PredictorSpec(Learned):
    """``predictor.json``: task, labels or other facts, and engine of the bundle."""

    task_kind: str
    labels: list[str]
    engine: str
    precision: str
    model_size: str
    max_length: int
    metric: str = "macro_f1"
    other_facts: dict[str, JsonValue] = Field(default_factory=dict)
    """What the task learned from train, where that is not a list of labels alone."""


class Smoke(Record):
    """``smoke.json``: a few texts, and the logits of the engine at export."""

    texts: list[Text]
    logits: list[list[float]]


class ExportPlan(Learned):
    """How to export a checkpoint folder."""

    precision: str
    engine: str | None = None
    """None: the default engine of this precision (`lft_ray.engines.build`)."""
    max_length: int | None = None
    """Length in tokens at which texts are truncated, at most that of training; None: that of training."""
    task_kind: str
    labels: list[str]
    samples: list[Text]
    """1 to 64 texts for the smoke test. They are stored in the bundle, so they must not be confidential."""
    card: CardFacts
    other_facts: dict[str, JsonValue] = Field(default_factory=dict)
    """What the task learned from train, where that is not a list of labels alone."""


@dataclass(frozen=True, slots=True)
class OpenedBundle:
    """A verified bundle, with its specification and smoke test."""

    folder: Path
    bundle: Bundle
    spec: PredictorSpec
    smoke: Smoke

    def task(self) -> Task:
        """The task of the bundle, with what it learned."""
        return make_task(self.spec.task_kind, self.spec.facts)

    def open_runner(self, *, threads: int = 1) -> Runner:
        """Load the model into its engine.

        Raises:
            BundleError: the engine cannot open the files.
        """
        engine = resolve(self.spec.engine, ENGINES, where="engine of the bundle")
        runner: Runner = engine.open(self.folder, precision=self.spec.precision, threads=threads)
        return runner

    def verify_smoke(self, runner: Runner) -> None:
        """Run the smoke test: compare with the logits of the export.

        Raises:
            BundleError: the logits have another shape or are not finite, or scores differ beyond `TOLERANCES`.
        """
        got = run_sorted(runner, self.smoke.texts)
        task = self.task()
        _check_logits(got, (len(self.smoke.texts), task.row_width), f"bundle {self.bundle.version}")
        worst = float(task.score_change(got, np.asarray(self.smoke.logits, dtype=np.float32)).max())
        limit = TOLERANCES[self.spec.precision]
        if worst > limit:
            raise BundleError(
                f"bundle {self.bundle.version} fails its smoke test on this machine: a score is off by "
                f"{worst:.4f}, allowed is {limit}",
                fix="export the bundle again on this kind of machine",
            )


def export_bundle(source: Path, plan: ExportPlan, target: Storage, name: str) -> Bundle:
    """Export a checkpoint folder as a bundle, run it once, and store it.

    The same checkpoint, plan and processor give the same version.

    Args:
        source: checkpoint folder of a trial, left unchanged. The bundle contains the files that the engine makes of it.
        plan: precision, length, task, samples and the facts of the card.
        target: storage to write to.
        name: name of the folder there.

    Raises:
        BundleError: the source cannot be opened, does not match the task or the length, or returns NaN.
        NotExportableError: the architecture cannot be served at this precision.
        ConfigError: the engine or the task is unknown.
    """
    _check_plan(plan, EngineCard.read(source).with_max_length(plan.max_length))
    with tempfile.TemporaryDirectory(prefix="lft-bundle-") as scratch:
        folder = Path(scratch) / "bundle"
        built = build_folder(source, folder, precision=plan.precision, max_length=plan.max_length, engine=plan.engine)
        facts = (
            plan.card
            if not built.note
            else plan.card.replace(serving_note=f"{plan.card.serving_note} {built.note}".strip())
        )
        spec = _spec(built, plan)
        # One thread, so that the logits in the smoke test do not depend on the number of cores.
        logits = run_sorted(built.open(threads=1), plan.samples)
        task = make_task(plan.task_kind, plan.facts)
        _check_logits(logits, (len(plan.samples), task.row_width), f"the checkpoint {source}")
        _write(folder / PREDICTOR, spec.model_dump())
        _write(folder / SMOKE, {"texts": plan.samples, "logits": logits.tolist()})
        told = spec.model_dump(exclude={"metric", "other_facts"})
        subject = CardSubject(**told, described=task.description)
        (folder / CARD).write_text(render_card(subject, facts), encoding="utf-8")
        digests = {name: _digest_of(folder / name).sha256 for name in _listed(folder)}
        _write(folder / BOM, render_bom(subject, facts, digests))
        write_manifest(folder)
        # Verifies what was written before it leaves this machine.
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
        metric=plan.card.metric,
        other_facts=plan.other_facts,
    )


def open_bundle(folder: Path) -> OpenedBundle:
    """Verify a bundle and read its metadata. Loads no weights.

    Args:
        folder: a local folder (see `Storage.local_folder`).

    Raises:
        BundleError: the folder is damaged, changed, not a bundle, or of another format.
    """
    version, size = verify_manifest(folder)
    try:
        spec = PredictorSpec.model_validate_json((folder / PREDICTOR).read_bytes())
        smoke = Smoke.model_validate_json((folder / SMOKE).read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleError(f"bundle {folder}: {PREDICTOR} or {SMOKE} is missing or invalid: {error}") from error
    card = EngineCard.read(folder)
    matches = (card.engine, card.max_length) == (spec.engine, spec.max_length) and spec.precision in TOLERANCES
    # Engine cards of earlier versions state no precision.
    if not matches or card.precision not in ("", spec.precision):
        raise BundleError(f"bundle {folder}: {PREDICTOR} and the engine card contradict each other")
    if not smoke.texts or len(smoke.texts) != len(smoke.logits):
        raise BundleError(
            f"bundle {folder}: {SMOKE} contains {len(smoke.texts)} texts and {len(smoke.logits)} rows of logits"
        )
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
    outputs = make_task(plan.task_kind, plan.facts).outputs
    if outputs != card.outputs:
        raise BundleError(
            f"the head of the checkpoint has {card.outputs} outputs, the task {plan.task_kind} needs {outputs}"
        )
    if not 1 <= len(plan.samples) <= 64:
        raise BundleError(f"a bundle needs 1 to 64 sample texts, got {len(plan.samples)}")


def _check_logits(logits: NDArray[np.float32], shape: tuple[int, int], where: str) -> None:
    if logits.shape != shape:
        raise BundleError(f"{where} returns logits of shape {logits.shape}, expected {shape}")
    if not np.isfinite(logits).all():
        raise BundleError(f"{where} returns logits that are not finite (NaN or infinity)")


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
