"""Status of a run. In: a run folder. Out: a dictionary that can be written as JSON. Never changes the run."""

from collections import Counter
from typing import Any

from lft_ray.run.bundle_site import BundleSite
from lft_ray.run.folder import RunFolder
from lft_ray.run.ledger import Ledger, check_winner

__all__ = ["status_of"]


def status_of(run: RunFolder, ledger: Ledger) -> dict[str, Any]:
    """Trials by status, training cost, seconds by stage, winner, endpoint and the next command to run."""
    records = ledger.records()
    selection, endpoint = run.selection(), run.endpoint()
    check_winner(selection, ledger)
    best = max((v.f1 for r in records for v in r.variants), default=None)
    live = endpoint if endpoint is not None and endpoint.state in {"ready", "rejected"} else None
    if live is not None:
        next_command = f"lft predict {run.typed} 'your text'"
    else:
        next_command = (
            f"lft deploy {run.typed}"
            if selection or isinstance(run, BundleSite)
            else f"lft search {run.uri}/experiment.yaml --resume"
        )
    return {
        "run": run.typed,
        "trials": dict(Counter(str(record.status) for record in records)),
        "unfinished": len(ledger.unfinished()),
        "best_f1": None if best is None else round(best, 4),
        "training_usd": round(sum(record.training_usd for record in records), 6),
        "stages_s": run.stage_seconds(),
        "winner": f"{selection.winner.model_size} ({selection.winner.trial_id})" if selection else None,
        "endpoint": live.url if live else None,
        "version": live.version if live else None,
        "canary": live.canary.model_dump(mode="json") if live and live.canary else None,
        "next": next_command,
    }
