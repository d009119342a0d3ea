"""What a command asks a live endpoint to change: applied, or refused by the name of its key, never ignored.

In: the settings that run, the settings of the command, and the keys that the user gave. Out: the autoscaling to apply,
or an error. Pure.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from lft_ray.config import AutoscalingSpec, ServeSpec
from lft_ray.errors import InputError

__all__ = ["check_given", "requested_autoscaling"]

_SECTION = "serve"
_CASCADE_KEYS = ("selection.margin", "cost")
"""What a cascade reads beside ``serve``."""
_PER_COMMAND = "serve.rollout."
"""Rules of one promotion, not settings of the endpoint."""
_LIVE = "serve.autoscaling."
"""What Ray Serve changes while an endpoint serves."""
_FREE_PORTS = ("serve.port", "serve.grpc_port")


def check_given(given: Iterable[str], *, with_cascade: bool = False) -> list[str]:
    """Refuse overrides that a deployment does not read.

    Args:
        given: overrides such as ``serve.port=0``.
        with_cascade: whether a cascade is built, which reads more.

    Returns:
        Their keys.

    Raises:
        InputError: naming the keys.
    """
    keys = [item.partition("=")[0].strip() for item in given]
    allowed = (_SECTION, *(_CASCADE_KEYS if with_cascade else ()))
    unread = [key for key in keys if not any(_is_below(key, prefix) for prefix in allowed)]
    if "cluster.address" in unread:
        raise InputError("--set cluster.address is for searches", fix="lft deploy RUN --address HOST:PORT")
    if unread:
        raise InputError(
            f"--set {', '.join(unread)}: a deployment reads only {' and '.join(allowed)}",
            fix="leave it out; it changes a search, not what has been trained",
        )
    return keys


def requested_autoscaling(running: ServeSpec, wanted: ServeSpec, given: Sequence[str]) -> AutoscalingSpec | None:
    """The autoscaling to apply to a live endpoint.

    Args:
        running: settings that the endpoint runs with.
        wanted: settings of the experiment with the overrides of the command.
        given: keys that the user gave; other differences are those of an earlier command, and stay.

    Returns:
        None if it is unchanged.

    Raises:
        InputError: a given key cannot be changed while the endpoint serves.
    """
    before, after = _flat(running.model_dump(mode="json")), _flat(wanted.model_dump(mode="json"))
    changed = [
        key
        for key in after
        if before[key] != after[key]
        and not key.startswith(_PER_COMMAND)
        and any(_is_below(key, name) for name in given)
        # "Any free port" is what it has.
        and not (key in _FREE_PORTS and after[key] == 0 and before[key] is not None)
    ]
    fixed = [key for key in changed if not key.startswith(_LIVE)]
    if fixed:
        listed = ", ".join(f"{key} (it is {before[key]}, given {after[key]})" for key in fixed)
        raise InputError(
            f"a live endpoint cannot change {listed}",
            fix="`lft down RUN` first, then deploy with it; or leave it out to promote only the bundle",
        )
    if not changed:
        return None
    tree = running.autoscaling.model_dump() | {
        key.removeprefix(_LIVE): getattr(wanted.autoscaling, key.removeprefix(_LIVE)) for key in changed
    }
    try:
        return AutoscalingSpec.model_validate(tree)
    except ValueError:
        low, high = tree["min_replicas"], tree["max_replicas"]
        raise InputError(
            f"serve.autoscaling: min_replicas {low} is above max_replicas {high} of the live endpoint",
            fix="set both",
        ) from None


def _is_below(key: str, prefix: str) -> bool:
    return key == prefix or key.startswith(f"{prefix}.")


def _flat(tree: dict[str, Any], prefix: str = f"{_SECTION}.") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
