"""The model of one replica, and its replacement without downtime. Knows no HTTP and no Ray.

In: a `DesiredState`, and texts. Out: a `ReplicaStatus`, and predictions. A new bundle is opened beside the running one
and compared with it, then one reference is swapped. Never raises for a bad bundle once a model is running.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from lft_ray.errors import BundleError, LftError
from lft_ray.serve.model.base import Model
from lft_ray.serve.rollout.gate import compare, distinct_key
from lft_ray.serve.rollout.state import DesiredState, ReplicaStatus
from lft_ray.serve.rollout.traffic_split import CanaryRoute
from lft_ray.texts import Text
from lft_ray.wire import Info, Predictions

__all__ = ["NotReady", "Service"]

logger = logging.getLogger("lft_ray.serve")

_RECENT = 64
"""Number of distinct recent texts that the promotion gate compares candidates on."""
_RECENT_CHARS = 2000
"""Longer texts are not remembered, which bounds the memory for them."""


class NotReady(Exception):
    """No model has been opened yet."""


class Service:
    """The running model, replaceable while it serves; during a canary also a candidate with a share of the requests.

    Args:
        open_model: opens and verifies the bundle at a URI and runs its smoke samples; may block and may raise.
    """

    def __init__(self, open_model: Callable[[str], Model]) -> None:
        self._open = open_model
        self._current: Model | None = None
        self._candidate: CanaryRoute | None = None
        self._recent: OrderedDict[str, Text] = OrderedDict()
        """Distinct recent texts by their key, the latest last: a text that is sent each second displaces no other."""
        self._lock = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._latest = -1
        self._status = ReplicaStatus(state="starting", serial=-1, version="", uri="")

    @property
    def version(self) -> str:
        """Version of the running model; empty before one is ready."""
        return self._current.version if self._current else ""

    @property
    def current(self) -> Model:
        """The running model.

        Raises:
            NotReady: no model has been opened yet.
        """
        if self._current is None:
            raise NotReady
        return self._current

    @property
    def info(self) -> Info:
        """Description of the running model and of the canary on this replica. Raises `NotReady` before there is one."""
        canary = self._candidate.info() if self._candidate and self._candidate.share else None
        return self.current.info.model_copy(update={"canary": canary})

    def info_of(self, version: str) -> Info:
        """Description of the model with ``version``: the running one or the candidate."""
        open_models = [model for model in (self._current, self._candidate and self._candidate.model) if model]
        known = next((model.info for model in open_models if model.version == version), None)
        # A model that has just been replaced has the labels of its successor: the promotion gate compares them.
        return known or self.current.info.model_copy(update={"version": version})

    @property
    def status(self) -> ReplicaStatus:
        """Status with regard to the latest desired state, with the statistics of a canary on this replica."""
        stats = self._candidate.stats() if self._candidate and self._candidate.share else None
        return replace(self._status, stats=stats)

    async def predict(
        self,
        texts: Sequence[Text],
        *,
        top_k: int | None = None,
        function: str | None = None,
        key: str | None = None,
    ) -> tuple[Predictions, str]:
        """Predict the label scores of each text.

        Args:
            texts: at least one.
            top_k: see `Model.predict`.
            function: see `Model.predict`.
            key: id of the request, which decides whether the candidate serves it; None: a random draw decides.

        Returns:
            The predictions, and the version of the model that made them.

        Raises:
            NotReady: no model has been opened yet.
        """
        model, candidate = self.current, self._candidate
        if texts and _characters(texts[0]) <= _RECENT_CHARS:
            self._remember(texts[0])
        if candidate is not None and candidate.share:
            return await candidate.predict(model, texts, top_k=top_k, function=function, key=key)
        return await model.predict(texts, top_k=top_k, function=function), model.version

    async def reconfigure(self, desired: DesiredState) -> ReplicaStatus:
        """Apply a desired state, or reject it with a reason and keep the running model.

        Raises:
            BundleError: no model is running yet, and neither ``current`` nor ``previous`` can be opened.
        """
        self._latest = max(self._latest, desired.serial)
        async with self._lock:
            if desired.serial < self._latest:
                return self.status  # superseded while it waited for the lock
            self._status = replace(self._status, state="loading", serial=desired.serial)
            reason = "" if self._is_serving(desired) else await self._replace_current(desired)
            if self._current is None:
                self._status = replace(self._status, state="rejected", reason=reason)
                raise BundleError(f"no bundle can be opened: {reason}")
            reason = reason or await self._update_candidate(desired)
            self._status = replace(
                self._status,
                state="rejected" if reason else "ready",
                reason=reason,
                candidate_version=self._candidate.model.version if self._candidate else "",
                share=self._candidate.share if self._candidate else 0.0,
            )
            return self.status

    def _remember(self, text: Text) -> None:
        key = distinct_key(text)
        self._recent[key] = text
        self._recent.move_to_end(key)
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    def _is_serving(self, desired: DesiredState) -> bool:
        same = self.version == desired.version or desired.version is None
        return self._current is not None and self._status.uri == desired.current and same

    async def _replace_current(self, desired: DesiredState) -> str:
        """Returns why ``current`` was rejected, or an empty string."""
        uri, candidate = desired.current, self._candidate
        if candidate is not None and candidate.uri == uri and desired.version in (None, candidate.model.version):
            # It is open and has been compared already.
            self._candidate = None
            model, reason = candidate.model, ""
        else:
            opened, reason = await self._try_open(uri, desired.version)
            if opened is None and self._current is None and desired.previous:
                uri = desired.previous
                opened, _ = await self._try_open(uri, None)
            if opened is None:
                return reason
            model = opened
        old, self._current = self._current, model
        self._retire(old)
        self._status = replace(self._status, version=model.version, uri=uri)
        return reason

    async def _update_candidate(self, desired: DesiredState) -> str:
        """Returns why the candidate was rejected, or an empty string."""
        candidate = self._candidate
        if candidate is not None and candidate.uri != desired.candidate:
            self._candidate = None
            self._retire(candidate.model)
            candidate = None
        if desired.candidate is None:
            return ""
        if candidate is None:
            model, reason = await self._try_open(desired.candidate, None)
            if model is None:
                return reason
            reason = await self._compare(model, desired)
            if reason:
                self._retire(model)
                return reason
            candidate = CanaryRoute(desired.candidate, model)
        candidate.begin(desired.share)
        self._candidate = candidate
        return ""

    async def _compare(self, model: Model, desired: DesiredState) -> str:
        running, recent = self.current, tuple(self._recent.values())
        job = partial(compare, max_slowdown=desired.max_slowdown, min_agreement=desired.min_agreement)
        try:
            return await asyncio.to_thread(job, model, running, recent)
        except Exception as error:  # a bad bundle can make an engine raise anything, which must not stop the replica
            logger.warning("the bundle at %s is rejected", desired.candidate, exc_info=True)
            return f"{type(error).__name__}: {error}"

    async def _try_open(self, uri: str, version: str | None) -> tuple[Model | None, str]:
        # Opening reads files and runs the model: in a thread, so that the replica goes on serving.
        try:
            model = await asyncio.to_thread(self._open, uri)
        except LftError as error:
            logger.warning("the bundle at %s is rejected: %s", uri, error.message)
            return None, error.message
        except Exception as error:  # a bad bundle can make an engine raise anything, which must not stop the replica
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
        """Raise when the running model is no longer able to serve."""
        self.current.check()


def _characters(text: Text) -> int:
    return len(text) if isinstance(text, str) else sum(map(len, text))
