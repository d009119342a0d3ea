"""Cache of fitted linear probes: in memory per process, and in a file shared by the trials of a node.

In: a cache key, and a function that fits the probe. Out: the probe. Never looks into a network.
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

from lft_ray.data.store import create_once
from lft_ray.run.storage import Storage
from lft_ray.train.device.process_group import current_group
from lft_ray.train.loop.activations import ActivationStore

__all__ = ["Probe", "ProbeCache"]

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]
MAX_ENTRIES = 64
"""Probes cached per process. Each is c x (hidden + validation rows) floats: 0.1 MB for 4 labels and 5,000 rows."""
_FORMAT = "2"
"""Increase this when something a fit depends on besides its key changes (such as `probe.PRIOR`): files of an older
version may still be on a node."""

_PROBES: "OrderedDict[Hashable, Probe]" = OrderedDict()


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted head and its logits on the validation split.

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
    """Cache of one probe.

    Attributes:
        key: everything the probe depends on; its ``repr`` must be complete.
        store: supplies the folder shared by the trials of a node, and the key of data set and base model; None: cache
            in this process only.
    """

    key: Hashable
    store: ActivationStore | None = None

    def probe(self, fit: Callable[[], Probe]) -> Probe:
        """The cached probe, or the result of ``fit`` if there is none. All processes of a trial must call this."""
        group = current_group()
        probe = _PROBES.get(self.key)
        # One process may have restarted with a cold cache. The processes share the forward pass of a fit, so either all
        # take part in it or none.
        if group.all_sum([probe is None])[0] > 0 or probe is None:
            path = self._path(group.world)
            probe = _from_node(path, fit) if group.world == 1 else _from_lead(path, fit)
        _PROBES[self.key] = probe
        _PROBES.move_to_end(self.key)
        while len(_PROBES) > MAX_ENTRIES:
            _PROBES.popitem(last=False)
        return probe

    def _path(self, world: int) -> Path | None:
        if self.store is None:
            return None
        # Batches, and so padding, depend on the number of processes, which changes the last bits of the features.
        identity = repr((_FORMAT, self.store.key, self.key, world))
        return self.store.folder / f"probe-{hashlib.sha256(identity.encode()).hexdigest()[:24]}.npz"


def _from_node(path: Path | None, fit: Callable[[], Probe]) -> Probe:
    if path is None:
        return fit()
    made: list[Probe] = []

    def make() -> None:
        made.append(fit())
        _write(path, made[0])

    found = create_once(path, lambda: _read(path), make)
    return found or made[0]


def _from_lead(path: Path | None, fit: Callable[[], Probe]) -> Probe:
    group = current_group()
    found: Probe | None = group.broadcast(_read(path) if group.is_lead and path is not None else None)
    if found is not None:
        return found
    probe = fit()
    if group.is_lead and path is not None:
        _write(path, probe)
    return probe


def _read(path: Path) -> Probe | None:
    # Through bytes: np.load of a truncated file leaves the file open.
    with (
        suppress(OSError, ValueError, KeyError, zipfile.BadZipFile),
        np.load(BytesIO(path.read_bytes()), allow_pickle=False) as arrays,
    ):
        return Probe(arrays["weight"], arrays["bias"], arrays["validation_logits"])
    return None


def _write(path: Path, probe: Probe) -> None:
    content = BytesIO()
    np.savez(content, allow_pickle=False, **asdict(probe))
    try:
        Storage(str(path.parent)).put(path.name, content.getvalue())
    except OSError:
        logger.warning("%s could not be written: other trials will fit this probe again", path)
