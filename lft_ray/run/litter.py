"""What cut-off processes leave in a run folder, and the run that a new one replaces.

In: the storage of a run folder whose driver lock is held. Out: the folder without temporary names. Deletes only names
that this package makes. Buckets write whole objects, so nothing is left there but unfinished bundles.
"""

import os
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from lft_ray.run.lock import exclusive
from lft_ray.run.storage import KEPT, Storage

__all__ = ["Replaced", "sweep"]

_CUT_OFF = re.compile(r"^\.(?:.+\.(?:old-)?[0-9a-f]{8}|write-test-[0-9a-f]{8}|state-[a-z0-9_]{8})$")
"""Names of atomic writes and copies (`Storage`), write tests, and training states (`lft_ray.train.loop.checkpoint`)."""
_CANDIDATE = re.compile(r"^\.?bundle-candidate(?:\..*)?$")
_ASIDE = re.compile(r"^\.replaced-[0-9a-f]{8}$")


def sweep(storage: Storage) -> None:
    """Remove cut-off writes, unfinished bundles and half-deleted runs, which would keep a full disk full."""
    if not storage.is_local:
        storage.delete_folder("bundle-candidate")
        return
    root = Path(storage.uri)
    for name in sorted(filter(_ASIDE.match, _names(root))):
        # Killed while it put a run aside, or before the new run began: the old run is still the run of this folder.
        is_begun = (root / "experiment.yaml").exists() and (root / name / "experiment.yaml").exists()
        aside = Replaced(storage, name)
        aside.delete() if is_begun else aside.put_back()
    for folder in (root, root / "data", root / "exports", *_below(root / "trials")):
        for name in _names(folder):
            if _CUT_OFF.match(name):
                _remove(folder / name)
    if any(map(_CANDIDATE.match, _names(root))):
        with exclusive(storage, "export"):
            for name in filter(_CANDIDATE.match, _names(root)):
                _remove(root / name)


@dataclass(frozen=True, slots=True)
class Replaced:
    """A run that was put aside because a new one takes its place.

    Attributes:
        storage: the run folder.
        folder: name of the folder in it that has the old content; empty in a bucket, where it was deleted.
    """

    storage: Storage
    folder: str

    @classmethod
    def put_aside(cls, storage: Storage) -> "Replaced":
        """Move the content of a run folder into a hidden folder in it, which takes no time and no space.

        ``experiment.yaml`` moves last: a process that is killed in between leaves a run without some of its trials,
        each of the others whole.
        """
        if not storage.is_local:
            storage.clear()
            return cls(storage, "")
        root, folder = Path(storage.uri), f".replaced-{uuid.uuid4().hex[:8]}"
        (root / folder).mkdir()
        for path in sorted(root.iterdir(), key=lambda p: p.name == "experiment.yaml"):
            if path.name not in (*KEPT, folder):
                path.rename(root / folder / path.name)
        return cls(storage, folder)

    def put_back(self) -> None:
        """Make the old content that of the run folder again, which was cleared in between."""
        if self.folder:
            root = Path(self.storage.uri)
            for path in sorted((root / self.folder).iterdir(), key=lambda p: p.name != "experiment.yaml"):
                path.rename(root / path.name)
            (root / self.folder).rmdir()

    def delete(self) -> None:
        """Delete the old content."""
        if self.folder:
            shutil.rmtree(Path(self.storage.uri) / self.folder, ignore_errors=True)


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _below(folder: Path) -> list[Path]:
    """The folder and the folders of trials and training states in it."""
    return [Path(root) for root, _, _ in os.walk(folder)]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
