"""How much a search will write, and whether there is room for it. In: sizes, the run folder. Out: bytes, errors.

Sizes follow from the parameters before anything is trained: a training state is three times its model, and two of them
exist while one is replaced. Never deletes anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lft_ray.causes import free_bytes, gigabytes
from lft_ray.config import TrainingSpec
from lft_ray.errors import StorageError
from lft_ray.models.sizes import ModelSize

__all__ = ["DiskForecast", "check_room", "disk_forecast"]

BYTES_PER_PARAMETER = 4
STATE_COPIES = 3
"""Weights and two moments, each in float32."""
PER_TRIAL_BYTES = 2_000_000
"""Records, predictions and notes of one trial, generously."""


@dataclass(frozen=True, slots=True)
class DiskForecast:
    """Bytes that a search writes into the run folder."""

    least: float
    """One checkpoint of the largest size and its training state, token embeddings (of which a state holds only those in
    the data) left out: below this the search cannot end."""
    all: float
    """All trials, each as large as the largest size, and the training states of those that run side by side."""


def disk_forecast(sizes: Sequence[ModelSize], training: TrainingSpec, *, trials: int, slots: int) -> DiskForecast:
    """Forecast the bytes that are still to be written.

    Args:
        sizes: model sizes that may be trained.
        training: its cache of activations is counted.
        trials: number of trials, confirmation runs included.
        slots: number of trials in parallel.
    """
    networks = [size.params * BYTES_PER_PARAMETER for size in sizes if not size.is_linear]
    largest = max(networks, default=0)
    mean = sum(networks) / len(networks) if networks else 0.0
    state = 2 * STATE_COPIES * largest
    encoder = max((size.encoder_params for size in sizes if not size.is_linear), default=0) * BYTES_PER_PARAMETER
    cache = training.activation_cache_gb * 1e9 if set(training.method) & {"freeze", "linear_probe"} else 0.0
    return DiskForecast(
        least=float(STATE_COPIES * encoder + largest + PER_TRIAL_BYTES),
        all=float(slots * state + trials * (mean + PER_TRIAL_BYTES) + cache),
    )


def check_room(run_uri: str, forecast: DiskForecast) -> str:
    """Compare the forecast with the free bytes of the run folder's disk.

    Returns:
        A warning if all trials together may not fit; empty if they do, or if the storage is a bucket.

    Raises:
        StorageError: not even one trial at a time fits.
    """
    free = free_bytes(run_uri)
    if free is None:
        return ""
    if free < forecast.least:
        raise StorageError(
            f"the disk of {run_uri} has {gigabytes(free)} free, and one trial of the largest model size writes "
            f"at least {gigabytes(forecast.least)} (training state and checkpoint)",
            fix="free space there, choose another folder with --set storage=..., or list fewer layers under models",
        )
    if free < forecast.all:
        return (
            f"the disk of {run_uri} has {gigabytes(free)} free, and the search may write {gigabytes(forecast.all)}: "
            "if it fills up, the search stops, and --resume goes on once there is room"
        )
    return ""
