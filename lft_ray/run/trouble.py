"""Name the trouble of a disk: full, read-only, failing. In: an error of the system. Out: one that a user can act on."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from lft_ray.causes import EndCause, cause_of, free_bytes
from lft_ray.errors import LftError, StorageError, first_line

__all__ = ["naming_storage_errors"]

_FIXES = {
    EndCause.DISK_FULL: "free some space, or move the run to a larger disk; a run works wherever its folder lies",
    EndCause.READ_ONLY: "get the right to write there, or copy the run elsewhere; a run works wherever its folder lies",
    EndCause.IO_ERROR: "check the disk",
}
"""What `causes` recognises as a disk's trouble, for commands that work on a finished run."""


@contextmanager
def naming_storage_errors(uri: str, *, needed_bytes: int | None = None) -> Iterator[None]:
    """Turn errors of a disk inside the block into a `StorageError` with path, cause and free space.

    Args:
        uri: where the block writes, for errors that name no file.
        needed_bytes: what it writes in all; None: unknown.

    Raises:
        StorageError: the disk is full, read-only or failing, the user may not write, or something else lies there.
    """
    try:
        yield
    except LftError:
        raise
    except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
        where = error.filename2 or error.filename or uri
        raise StorageError(
            f"cannot write {where}: {error.strerror or error}", fix="move away what lies in its place"
        ) from error
    except Exception as error:
        cause = cause_of(error)
        if cause not in _FIXES:
            raise
        raise _named(error, cause, uri, needed_bytes) from error


def _named(error: Exception, cause: EndCause, uri: str, needed_bytes: int | None) -> StorageError:
    where, what = uri, "No space left on device" if cause is EndCause.DISK_FULL else first_line(error)
    if isinstance(error, OSError) and error.errno is not None:
        where, what = str(error.filename2 or error.filename or uri), os.strerror(error.errno)
    facts = [what]
    if cause is EndCause.DISK_FULL:
        if needed_bytes is not None:
            facts.append(f"about {needed_bytes / 1e6:,.1f} MB are needed")
        if (free := free_bytes(where)) is not None:
            facts.append(f"{free / 1e6:,.1f} MB are free")
    fix = "raise the limit (ulimit -n)" if os.strerror(errno.EMFILE) in what else _FIXES[cause]
    return StorageError(f"cannot write {where}: {', '.join(facts)}", fix=fix)
