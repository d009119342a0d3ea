"""What all processes of a trial used up together. In: meters and the group. Out: `Usage`, the same on each."""

from lft_ray.records import Usage
from lft_ray.train.group import Group, current_group
from lft_ray.train.meter import Meter, add_usage

__all__ = ["session_usage", "shared_usage"]


def shared_usage(meter: Meter) -> Usage:
    """Usage of all processes of the trial so far, those before a resume included; every process must call it.

    Wall seconds are this process's own, the peak is the greatest of them.
    """
    return add_usage(meter.carried, session_usage(meter, current_group()))


def session_usage(meter: Meter, group: Group) -> Usage:
    """Usage of all processes since this session of the trial began, the same on each; every process must call it."""
    mine = meter.own()
    summed = ("core_s", "device_s", "tokens", "padded_tokens")
    core_s, device_s, tokens, padded = group.total([getattr(mine, name) for name in summed])
    return mine.replace(
        core_s=core_s,
        device_s=device_s,
        tokens=int(tokens),
        padded_tokens=int(padded),
        peak_bytes=int(group.largest(mine.peak_bytes)),
    )
