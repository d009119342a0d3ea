"""Status of a run. In: a run folder. Out: a dictionary that can be written as JSON. Never changes the run."""

import json
from collections import Counter
from typing import Any

from lft_ray.errors import LftError
from lft_ray.run.bundle_site import BundleSite
from lft_ray.run.folder import RunFolder
from lft_ray.run.ledger import Ledger, check_winner
from lft_ray.run.storage import Storage
from lft_ray.serve.endpoint.look import EndpointView, look
from lft_ray.system.text import quoted
from lft_ray.tasks.find import prediction_kind
from lft_ray.wire import PredictionKind

__all__ = ["next_of", "status_of", "words_to_try"]

_RESPONDS = ("ready", "not_ready", "unreachable", "starting", "elsewhere")
"""States of an endpoint that is there, whether or not it answers."""


def status_of(run: RunFolder, ledger: Ledger) -> dict[str, Any]:
    """Trials by status, training cost, seconds by stage, winner, endpoint and the next command to run.

    The endpoint is looked at, not only its record: its process, and its answer to ``/ready``.
    """
    records = ledger.records()
    selection, view = run.selection(), look(run.storage)
    check_winner(selection, ledger)
    best = max((v.f1 for r in records for v in r.variants), default=None)
    is_ready = view is not None and view.state == "ready"
    may_serve = selection is not None or isinstance(run, BundleSite)
    target = quoted(run.typed)
    start = f"lft deploy {target}" if may_serve else run.search_command()
    return {
        "run": run.typed,
        "trials": dict(Counter(str(record.status) for record in records)),
        "unfinished": len(ledger.unfinished()),
        "best_f1": None if best is None else round(best, 4),
        "training_usd": round(sum(record.training_usd for record in records), 6),
        "stages_s": run.stage_seconds(),
        "winner": f"{selection.winner.model_size} ({selection.winner.trial_id})" if selection else None,
        "endpoint": view.url if view and is_ready else None,
        "version": view.version if view and is_ready else None,
        "canary": view.canary.model_dump(mode="json") if view and is_ready and view.canary else None,
        "serving": view.model_dump(mode="json", exclude={"canary"}) if view else None,
        "next": next_of(view, target, start, run),
    }


def words_to_try(run: RunFolder) -> str:
    """Arguments of ``lft predict`` to try a model with: one text, two where it reads pairs, or a question."""
    if _predictions_of(run) == "spans":
        return "--question 'your question' --context 'the text that has its answer'"
    if isinstance(run, BundleSite):
        smoke = Storage(run.bundle_uri)
        first = json.loads(smoke.get("smoke.json"))["texts"][:1] if smoke.exists("smoke.json") else []
        pairs = any(isinstance(text, list) for text in first)
    else:
        dataset = run.dataset()
        pairs = dataset is not None and any(isinstance(text, tuple) for text in dataset.sample_texts[:1])
    return "'first text' 'second text'" if pairs else "'your text'"


def _predictions_of(run: RunFolder) -> PredictionKind:
    """What predictions consist of; labels where the task is not known, such as a plug-in that is not installed."""
    if isinstance(run, BundleSite):
        bundle = Storage(run.bundle_uri)
        found = json.loads(bundle.get("predictor.json")) if bundle.exists("predictor.json") else {}
        kind = str(found.get("task_kind", ""))
    else:
        dataset = run.dataset()
        kind = dataset.task_kind if dataset is not None else ""
    try:
        return prediction_kind(kind) if kind else "labels"
    except LftError:
        return "labels"


def next_of(view: EndpointView | None, target: str, start: str, run: RunFolder) -> str:
    """The command to run next.

    Args:
        view: the endpoint; None without one.
        target: its run, quoted for a shell.
        start: the command where nothing serves.
        run: the run, or the site of a bundle.
    """
    if view is None or view.state == "stopped":
        return start
    if view.state == "ready":
        return f"lft predict {target} {words_to_try(run)}"
    return f"lft status {target}" if view.state in _RESPONDS else f"lft deploy {target}"
