"""Which model answers, and how a better one takes its place. In: wishes (`Wish`). Out: answers. Never raises for a bad
bundle once a model runs: the new one is opened beside the old one, tried, and one reference is swapped, or it is not.

Knows no HTTP and no Ray.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

from lft_ray.errors import BundleError, LftError
from lft_ray.wire import Answer, Info

__all__ = ["Model", "NotReady", "Service", "ServiceState", "Wish"]

logger = logging.getLogger("lft_ray.serve")


class NotReady(Exception):
    """No model has been opened yet."""


class Model(Protocol):
    """What the service needs of a predictor."""

    version: str
    info: Info

    @property
    def queued(self) -> int:
        """Texts that wait for their turn."""

    async def answer(self, texts: Sequence[str], *, top_k: int | None, function: str | None) -> Answer:
        """Label scores of each text, best first."""

    def check(self) -> None:
        """Raise when the model can no longer answer."""

    async def retire(self) -> None:
        """Finish what is in flight, then free everything."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall be served: Serve's ``user_config``."""

    current: str
    """URI of the bundle that shall answer."""
    previous: str | None = None
    """URI of the bundle that a starting replica opens when ``current`` cannot be opened."""
    version: str | None = None
    """Version that ``current`` must have; None: any."""
    serial: int = 0
    """Grows with every wish, so that an answer about it can be told from one about an older wish."""

    @classmethod
    def of(cls, config: dict[str, Any]) -> "Wish":
        """Read a ``user_config``."""
        return cls(**config)

    def as_config(self) -> dict[str, Any]:
        """Write a ``user_config``."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What became of the latest wish."""

    state: Literal["starting", "loading", "ready", "rejected"]
    serial: int
    version: str
    """Version that answers now; empty when none does."""
    uri: str
    """URI of the bundle that answers now; empty when none does."""
    reason: str = ""
    """Why the wish was rejected."""


class Service:
    """One model that answers, replaceable while it does.

    Args:
        open_model: opens a bundle URI, verifies it and runs its smoke sample; may block and may raise.
    """

    def __init__(self, open_model: Callable[[str], Model]) -> None:
        self._open = open_model
        self._current: Model | None = None
        self._lock = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._latest = -1
        self.state = ServiceState(state="starting", serial=-1, version="", uri="")

    @property
    def version(self) -> str:
        """Version of the model that answers; empty when none does."""
        return self._current.version if self._current else ""

    @property
    def current(self) -> Model:
        """The model that answers.

        Raises:
            NotReady: there is none yet.
        """
        if self._current is None:
            raise NotReady
        return self._current

    async def answer(
        self, texts: Sequence[str], *, top_k: int | None = None, function: str | None = None
    ) -> tuple[Answer, str]:
        """Answer with the current model; also returns that model's version. Raises `NotReady` before there is one."""
        model = self.current
        return await model.answer(texts, top_k=top_k, function=function), model.version

    async def reconfigure(self, wish: Wish) -> ServiceState:
        """Make a wish true, or keep what runs and say why.

        Raises:
            BundleError: no model runs yet, and neither ``current`` nor ``previous`` can be opened.
        """
        self._latest = max(self._latest, wish.serial)
        async with self._lock:
            if wish.serial < self._latest:
                return self.state  # A newer wish came while this one waited.
            if not self._answers(wish):
                self.state = replace(self.state, state="loading", serial=wish.serial)
                reason = await self._change(wish)
                self.state = replace(self.state, state="rejected" if reason else "ready", reason=reason)
            else:
                self.state = replace(self.state, state="ready", serial=wish.serial, reason="")
            if self._current is None:
                raise BundleError(f"no bundle can be opened: {self.state.reason}")
            return self.state

    def _answers(self, wish: Wish) -> bool:
        return self._current is not None and self.state.uri == wish.current and self.version == wish.version

    async def _change(self, wish: Wish) -> str:
        # Returns why ``current`` was refused, or an empty string.
        uri = wish.current
        model, reason = await self._try(uri, wish.version)
        if model is None and self._current is None and wish.previous:
            uri = wish.previous
            model, _ = await self._try(uri, None)
        if model is not None:
            self._swap(model)
            self.state = replace(self.state, version=model.version, uri=uri)
        return reason

    async def _try(self, uri: str, version: str | None) -> tuple[Model | None, str]:
        # Opening reads files and runs the model: in a thread, so that requests are answered meanwhile.
        try:
            model = await asyncio.to_thread(self._open, uri)
        except LftError as error:
            logger.warning("the bundle at %s is rejected: %s", uri, error.message)
            return None, error.message
        except Exception as error:  # whatever a foreign folder makes an engine raise must not stop the replica
            logger.warning("the bundle at %s is rejected", uri, exc_info=True)
            return None, f"{type(error).__name__}: {error}"
        if version is not None and model.version != version:
            await model.retire()
            return None, f"the bundle at {uri} has version {model.version}, expected {version}"
        return model, ""

    def _swap(self, model: Model) -> None:
        old, self._current = self._current, model
        if old is not None:
            task = asyncio.get_running_loop().create_task(old.retire())
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    def check(self) -> None:
        """Raise when the model that answers no longer can."""
        self.current.check()
