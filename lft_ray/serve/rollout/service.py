"""Which model answers, and how a better one takes its place. In: a `DesiredState`. Out: answers, and a `ReplicaStatus`.

Never raises for a bad bundle once a model runs: the new one is opened beside the old one, compared with it, and one
reference is swapped.

Knows no HTTP and no Ray.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from lft_ray.errors import BundleError, LftError
from lft_ray.serve.model.base import Model
from lft_ray.serve.rollout.gate import compare
from lft_ray.serve.rollout.state import DesiredState, ReplicaStatus
from lft_ray.serve.rollout.traffic_split import CanaryRoute
from lft_ray.wire import Info, Predictions

__all__ = ["NotReady", "Service"]

logger = logging.getLogger("lft_ray.serve")

_RECENT = 64
_RECENT_CHARS = 2000


class NotReady(Exception):
    """No model has been opened yet."""


class Service:
    """One model that answers, replaceable while it does, and perhaps a candidate that answers a share of the requests.

    Args:
        open_model: opens a bundle URI, verifies it and runs its smoke sample; may block and may raise.
    """

    def __init__(self, open_model: Callable[[str], Model]) -> None:
        self._open = open_model
        self._current: Model | None = None
        self._candidate: CanaryRoute | None = None
        self._recent: deque[str] = deque(maxlen=_RECENT)
        self._lock = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._latest = -1
        self._status = ReplicaStatus(state="starting", serial=-1, version="", uri="")

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

    @property
    def info(self) -> Info:
        """The model that answers, and what a candidate did here. Raises `NotReady` before there is a model."""
        canary = self._candidate.view() if self._candidate and self._candidate.share else None
        return self.current.info.model_copy(update={"canary": canary})

    def info_of(self, version: str) -> Info:
        """The model that answered with ``version``: the running one or the candidate."""
        held = [model for model in (self._current, self._candidate and self._candidate.model) if model]
        known = next((model.info for model in held if model.version == version), None)
        # A model that has just been replaced had the labels of the one after it.
        return known or self.current.info.model_copy(update={"version": version})

    @property
    def status(self) -> ReplicaStatus:
        """What became of the latest desired state, and what a canary counted here up to now."""
        stats = self._candidate.stats() if self._candidate and self._candidate.share else None
        return replace(self._status, stats=stats)

    async def answer(
        self,
        texts: Sequence[str],
        *,
        top_k: int | None = None,
        function: str | None = None,
        key: str | None = None,
    ) -> tuple[Predictions, str]:
        """Answer; also returns the version of the model that did. Raises `NotReady` before there is one.

        Args:
            texts: at least one.
            top_k: see `Model.answer`.
            function: see `Model.answer`.
            key: id of the request, which decides whether a candidate answers it; None: chance does.
        """
        model, candidate = self.current, self._candidate
        if texts and len(texts[0]) <= _RECENT_CHARS:
            self._recent.append(texts[0])
        if candidate is not None and candidate.share:
            return await candidate.answer(model, texts, top_k=top_k, function=function, key=key)
        return await model.answer(texts, top_k=top_k, function=function), model.version

    async def reconfigure(self, desired: DesiredState) -> ReplicaStatus:
        """Serve what is desired, or keep what runs and say why.

        Raises:
            BundleError: no model runs yet, and neither ``current`` nor ``previous`` can be opened.
        """
        self._latest = max(self._latest, desired.serial)
        async with self._lock:
            if desired.serial < self._latest:
                return self.status  # A newer one came while this one waited.
            self._status = replace(self._status, state="loading", serial=desired.serial)
            reason = "" if self._answers(desired) else await self._change(desired)
            if self._current is None:
                self._status = replace(self._status, state="rejected", reason=reason)
                raise BundleError(f"no bundle can be opened: {reason}")
            reason = reason or await self._consider(desired)
            self._status = replace(
                self._status,
                state="rejected" if reason else "ready",
                reason=reason,
                candidate_version=self._candidate.model.version if self._candidate else "",
                share=self._candidate.share if self._candidate else 0.0,
            )
            return self.status

    def _answers(self, desired: DesiredState) -> bool:
        same = self.version == desired.version or desired.version is None
        return self._current is not None and self._status.uri == desired.current and same

    async def _change(self, desired: DesiredState) -> str:
        # Returns why ``current`` was refused, or an empty string.
        uri, held = desired.current, self._candidate
        if held is not None and held.uri == uri and desired.version in (None, held.model.version):
            self._candidate = None
            model, reason = held.model, ""
        else:
            found, reason = await self._try(uri, desired.version)
            if found is None and self._current is None and desired.previous:
                uri = desired.previous
                found, _ = await self._try(uri, None)
            if found is None:
                return reason
            model = found
        old, self._current = self._current, model
        self._retire(old)
        self._status = replace(self._status, version=model.version, uri=uri)
        return reason

    async def _consider(self, desired: DesiredState) -> str:
        # Returns why the candidate was refused, or an empty string.
        held = self._candidate
        if held is not None and held.uri != desired.candidate:
            self._candidate = None
            self._retire(held.model)
            held = None
        if desired.candidate is None:
            return ""
        if held is None:
            model, reason = await self._try(desired.candidate, None)
            if model is None:
                return reason
            reason = await self._compared(model, desired)
            if reason:
                self._retire(model)
                return reason
            held = CanaryRoute(desired.candidate, model)
        held.begin(desired.share)
        self._candidate = held
        return ""

    async def _compared(self, model: Model, desired: DesiredState) -> str:
        running, recent = self.current, tuple(self._recent)
        try:
            return await asyncio.to_thread(compare, model, running, recent, max_slowdown=desired.max_slowdown)
        except Exception as error:  # whatever a foreign folder makes an engine raise must not stop the replica
            logger.warning("the bundle at %s is rejected", desired.candidate, exc_info=True)
            return f"{type(error).__name__}: {error}"

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

    def _retire(self, model: Model | None) -> None:
        if model is not None:
            task = asyncio.get_running_loop().create_task(model.retire())
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    def check(self) -> None:
        """Raise when the model that answers no longer can."""
        self.current.check()
