"""Two bundles that are served as one: a folder with ``cascade.json``, ``small/`` and ``large/``.

In: two sealed bundles and the numbers of `lft_ray.selection.cascade`. Out: a folder that is deployed like a bundle.
Each half is verified as any bundle is; the version is that of ``cascade.json``, which names both.
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
    """``cascade.json``: which two bundles, and when the large one is asked."""

    small_version: str
    large_version: str
    temperature: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    """The small model's logits are divided by it."""
    threshold: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    """A text of which the small model is less sure goes to the large one."""


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
    """Put two bundles and ``cascade.json`` on storage, all or nothing where it is local. Returns the folder's URI.

    Raises:
        BundleError: a bundle is damaged, or the two do not answer the same labels.
    """
    with tempfile.TemporaryDirectory(prefix="lft-cascade-") as scratch:
        folder = Path(scratch) / "cascade"
        folder.mkdir()
        for part, source in (("small", small), ("large", large)):
            shutil.copytree(source, folder / part)
        (folder / CASCADE_FILE).write_text(spec.model_dump_json(indent=1) + "\n", encoding="utf-8")
        open_cascade(folder)
        return target.put_folder(name, folder)


def open_cascade(folder: Path) -> OpenedCascade:
    """Verify a cascade and both its bundles. Loads no weights.

    Raises:
        BundleError: it is damaged, changed, or its bundles do not belong together.
    """
    try:
        payload = (folder / CASCADE_FILE).read_bytes()
        spec = CascadeSpec.model_validate_json(payload)
    except (OSError, ValidationError) as error:
        raise BundleError(f"cascade {folder} lacks or misstates {CASCADE_FILE}: {error}") from error
    small, large = open_bundle(folder / "small"), open_bundle(folder / "large")
    found = (small.bundle.version, large.bundle.version)
    if found != (spec.small_version, spec.large_version):
        raise BundleError(
            f"cascade {folder} names the versions {spec.small_version} and {spec.large_version}, and holds "
            f"{found[0]} and {found[1]}"
        )
    if (small.spec.task_kind, small.spec.labels) != (large.spec.task_kind, large.spec.labels):
        raise BundleError(f"cascade {folder}: its two bundles do not answer the same labels in the same order")
    return OpenedCascade(hashlib.sha256(payload).hexdigest()[:12], spec, small, large)


def version_of(folder: Path) -> str:
    """Verify what is to be served, a bundle or a cascade, and return its version. Raises `BundleError`."""
    return open_cascade(folder).version if is_cascade(folder) else open_bundle(folder).bundle.version
