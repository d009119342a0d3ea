"""Name the trouble of a disk: full, read-only, failing. In: an error of the system. Out: one that a user can act on."""

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lft_ray.errors import InputError, LftError, StorageError, first_line

__all__ = ["naming_storage_errors"]

_FIXES = {
    errno.ENOSPC: "free some space, or move the run to a larger disk; a run works wherever its folder lies",
    errno.EDQUOT: "raise the quota, or move the run elsewhere; a run works wherever its folder lies",
    errno.EROFS: "copy the run to a folder that can be written; a run works wherever its folder lies",
    errno.EACCES: "give this user the right to write there, or copy the run elsewhere",
    errno.EPERM: "give this user the right to write there, or copy the run elsewhere",
    errno.EIO: "check the disk",
}
_FULL = re.compile(r"[Nn]o space left on device|os error 28")
"""How libraries outside Python word a full disk: they raise errors of their own."""


@contextmanager
def naming_storage_errors(uri: str, *, needed_bytes: int | None = None) -> Iterator[None]:
    """Turn errors of a disk inside the block into a `StorageError` with path, cause and free space.

    Args:
        uri: where the block writes, for errors that name no file.
        needed_bytes: what it writes in all; None: unknown.

    Raises:
        StorageError: the disk is full, read-only or failing, or the user may not write.
    """
    try:
        yield
    except LftError:
        raise
    except OSError as error:
        if error.errno not in _FIXES:
            raise
        where = str(error.filename2 or error.filename or uri)
        raise _named(where, error.strerror or first_line(error), error.errno, needed_bytes) from error
    except Exception as error:
        if _FULL.search(str(error)) is None:
            raise
        raise _named(uri, "No space left on device", errno.ENOSPC, needed_bytes) from error


def _named(where: str, cause: str, number: int, needed_bytes: int | None) -> InputError:
    facts = []
    if number in (errno.ENOSPC, errno.EDQUOT):
        free = _free_bytes(where)
        if needed_bytes is not None:
            facts.append(f"about {needed_bytes / 1e6:,.1f} MB are needed")
        if free is not None:
            facts.append(f"{free / 1e6:,.1f} MB are free")
    return StorageError(f"cannot write {where}: {', '.join([cause, *facts])}", fix=_FIXES[number])


def _free_bytes(where: str) -> int | None:
    if "://" in where:
        return None
    for folder in (Path(where), *Path(where).absolute().parents):
        if folder.is_dir():
            return shutil.disk_usage(folder).free
    return None
