"""Fitted probes, each made once: kept in the process, and in a file that the trials of a node share.

In: what a probe depends on, and how to make it. Out: the probe. Knows nothing of networks.
"""

import hashlib
import logging
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lft_ray.data.store import made_once
from lft_ray.run.storage import Storage
from lft_ray.train.device.process_group import current_group
from lft_ray.train.loop.activations import ActivationStore

__all__ = ["Probe", "ProbeCache"]

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]
ENTRIES = 64
"""Probes kept in a process. One is c x (hidden + validation rows) floats: 0.1 MB for 4 labels and 5,000 rows."""
_FORMAT = "1"
"""To be raised with whatever a fit depends on beside its key (`probe.PRIOR`): a node may keep files of an older one."""

_KEPT: "OrderedDict[Hashable, Probe]" = OrderedDict()


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted head and what it answers on validation.

    Attributes:
        weight: float32 [c, hidden].
        bias: float32 [c].
        validation_logits: float32 [n, c], rows in the order of the split.
    """

    weight: Floats
    bias: Floats
    validation_logits: Floats


@dataclass(frozen=True, slots=True)
class ProbeCache:
    """Where a probe is looked for before it is made, and kept.

    Attributes:
        key: whatever it depends on, with a ``repr`` that says it all.
        store: whose folder the trials of a node share, and which knows data and base; None: each process has its own.
    """

    key: Hashable
    store: ActivationStore | None = None

    def probe(self, fit: Callable[[], Probe]) -> Probe:
        """The probe; ``fit`` makes it where nobody has. All processes of a trial call this."""
        group = current_group()
        probe = _KEPT.get(self.key)
        # One process may have restarted with a cold cache. The pass is shared, so all must make it, or none.
        if group.total([probe is None])[0] > 0 or probe is None:
            path = self._path(group.world)
            probe = _from_node(path, fit) if group.world == 1 else _from_lead(path, fit)
        _KEPT[self.key] = probe
        _KEPT.move_to_end(self.key)
        while len(_KEPT) > ENTRIES:
            _KEPT.popitem(last=False)
        return probe

    def _path(self, world: int) -> Path | None:
        if self.store is None:
            return None
        # Several processes pad the texts in other company, so the last bits of their features differ.
        what = repr((_FORMAT, self.store.key, self.key, world))
        return self.store.folder / f"probe-{hashlib.sha256(what.encode()).hexdigest()[:24]}.npz"


def _from_node(path: Path | None, fit: Callable[[], Probe]) -> Probe:
    if path is None:
        return fit()
    made: list[Probe] = []

    def make() -> None:
        made.append(fit())
        _write(path, made[0])

    found = made_once(path, lambda: _read(path), make)
    return found or made[0]


def _from_lead(path: Path | None, fit: Callable[[], Probe]) -> Probe:
    group = current_group()
    found: Probe | None = group.from_lead(_read(path) if group.leads and path is not None else None)
    if found is not None:
        return found
    probe = fit()
    if group.leads and path is not None:
        _write(path, probe)
    return probe


def _read(path: Path) -> Probe | None:
    with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), np.load(path, allow_pickle=False) as arrays:
        return Probe(arrays["weight"], arrays["bias"], arrays["validation_logits"])
    return None


def _write(path: Path, probe: Probe) -> None:
    content = BytesIO()
    np.savez(content, allow_pickle=False, **asdict(probe))
    try:
        Storage(str(path.parent)).put(path.name, content.getvalue())
    except OSError:
        logger.warning("%s could not be written: other trials make their probe again", path)
