"""How results and failures read in the record of an endpoint. In: a `RolloutResult`, or an error. Out: plain values.

Whatever Ray raises becomes one sentence: its tracebacks are pages of colour codes.
"""

import re
from collections.abc import Mapping
from typing import Any

from lft_ray.errors import InputError, LftError, first_line
from lft_ray.records import Endpoint, ServedVersion
from lft_ray.serve.rollout.controller import RolloutController, RolloutResult

__all__ = ["failure_of", "recorded", "served_changes"]

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_CANNOT_BIND = re.compile(r"cannot bind (?:UNIX )?socket \(?([^)\n]*?)\)?\s*(?:for )?\[?([0-9A-Fa-f.:*]+):(\d+)\]?")
_IN_USE = re.compile(r"address already in use", re.IGNORECASE)
_PORT = re.compile(r"[Pp]ort (\d+)")


def failure_of(error: Exception, endpoint: Endpoint) -> LftError:
    """A failed start as one sentence; an `InputError` where a port is in use.

    Args:
        error: what was raised.
        endpoint: the endpoint that was starting, with its ports.
    """
    text = _ANSI.sub("", str(error))
    bind = _CANNOT_BIND.search(text)
    if bind is not None or _IN_USE.search(text):
        reason = bind[1].strip() if bind is not None and bind[1].strip() else "Address already in use"
        named = bind[3] if bind is not None else next(iter(_PORT.findall(text)), "")
        key = next((key for key, port in endpoint.ports.items() if str(port) == named), "")
        setting = {"http": "serve.port", "grpc": "serve.grpc_port"}.get(key, "")
        where = f"port {named}" + (f" ({setting})" if setting else "") if named else "its port"
        return InputError(
            f"cannot bind {where}: {reason}; another process took it during the start",
            fix=f"`lft deploy` again, or --set {setting or 'serve.port'}=0 for any free port",
        )
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), first_line(error))
    return LftError(f"{type(error).__name__}: {last}")


def recorded(
    result: RolloutResult, before: Endpoint, rollout: RolloutController, sources: Mapping[str, str]
) -> dict[str, Any]:
    """Changes of the record after a promotion or a rollback.

    Args:
        result: the result.
        before: the record until now.
        rollout: the controller, after the change.
        sources: URI of a copy -> URI that it was copied from.
    """
    history = [ServedVersion(version=one.version, uri=sources.get(one.uri, one.uri)) for one in rollout.history]
    current = rollout.desired.current
    return served_changes(result, before, sources.get(current, current), history)


def served_changes(result: RolloutResult, before: Endpoint, uri: str, history: list[ServedVersion]) -> dict[str, Any]:
    """Changes of the record when ``uri`` is served now."""
    message = "promoted after its canary" if result.canary else ""
    if result.kind == "rolled_back":
        message = f"rolled back from {before.version} to {result.version}"
    return {
        "version": result.version,
        "bundle_uri": uri,
        "previous_version": history[-1].version if history else "",
        "previous_uri": history[-1].uri if history else "",
        "history": history,
        "canary": result.canary or before.canary,
        "message": message,
    }
