"""The cascade on disk: two bundles served as one, a folder with ``cascade.json``, ``small/`` and ``large/``.

In: two bundles, and temperature and threshold of `lft_ray.selection.cascade`. Out: a folder that is deployed like a
bundle. Both bundles are verified; the version is the hash of ``cascade.json``, which names the versions of both.
"""

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from lft_ray.errors import BundleError
from lft_ray.export.bundle import OpenedBundle, open_bundle
from lft_ray.records import Record
from lft_ray.run.storage import Storage

__all__ = ["CASCADE_FILE", "CascadeSpec", "OpenedCascade", "is_cascade", "open_cascade", "put_cascade", "version_of"]

CASCADE_FILE = "cascade.json"


class CascadeSpec(Record):
    """``cascade.json``: the versions of both bundles, and when the large model is called."""

    small_version: str
    large_version: str
    temperature: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    """Divisor of the small model's logits."""
    threshold: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    """Texts for which the small model's confidence is lower go to the large model."""


@dataclass(frozen=True, slots=True)
class OpenedCascade:
    """A verified cascade."""

    version: str
    spec: CascadeSpec
    small: OpenedBundle
    large: OpenedBundle


def is_cascade(folder: Path) -> bool:
    """Whether a folder holds a cascade."""
    return (folder / CASCADE_FILE).is_file()


def put_cascade(small: Path, large: Path, spec: CascadeSpec, target: Storage, name: str) -> str:
    """Write two bundles and ``cascade.json`` to storage, atomically on a local disk. Returns the URI of the folder.

    Args:
        small: local folder of the bundle called first.
        large: local folder of the bundle called at low confidence.
        spec: contents of ``cascade.json``.
        target: storage to write to.
        name: name of the folder there.

    Raises:
        BundleError: a bundle is damaged, or the two differ in their labels.
    """
    with tempfile.TemporaryDirectory(prefix="lft-cascade-") as scratch:
        folder = Path(scratch) / "cascade"
        folder.mkdir()
        for part, source in (("small", small), ("large", large)):
            shutil.copytree(source, folder / part)
        (folder / CASCADE_FILE).write_text(spec.model_dump_json(indent=1) + "\n", encoding="utf-8")
        open_cascade(folder)  # verify before anything is published
        return target.put_folder(name, folder)


def open_cascade(folder: Path) -> OpenedCascade:
    """Verify a cascade and both its bundles. Loads no weights.

    Raises:
        BundleError: a file is damaged or changed, or the bundles do not match the cascade.
    """
    try:
        payload = (folder / CASCADE_FILE).read_bytes()
        spec = CascadeSpec.model_validate_json(payload)
    except (OSError, ValidationError) as error:
        raise BundleError(f"cascade {folder}: {CASCADE_FILE} is missing or invalid: {error}") from error
    small, large = open_bundle(folder / "small"), open_bundle(folder / "large")
    found = (small.bundle.version, large.bundle.version)
    if found != (spec.small_version, spec.large_version):
        raise BundleError(
            f"cascade {folder}: {CASCADE_FILE} names the versions {spec.small_version} and {spec.large_version}, but "
            f"the folder contains {found[0]} and {found[1]}"
        )
    if (small.spec.task_kind, small.spec.labels) != (large.spec.task_kind, large.spec.labels):
        raise BundleError(f"cascade {folder}: its two bundles do not have the same labels in the same order")
    return OpenedCascade(hashlib.sha256(payload).hexdigest()[:12], spec, small, large)


def version_of(folder: Path) -> str:
    """Version of a bundle or cascade, after verifying it.

    Raises:
        BundleError: the folder is damaged or changed.
    """
    return open_cascade(folder).version if is_cascade(folder) else open_bundle(folder).bundle.version
