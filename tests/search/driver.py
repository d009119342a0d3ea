"""A search over trivial trials as a process of its own: ``python -m tests.search.driver RUN_FOLDER [OPTION=VALUE]``."""

import json
import os
import sys
import time
from typing import Any

from lft_ray.cluster.connect import ClusterHandle, connect
from lft_ray.cluster.watch import when_stuck
from lft_ray.config import ClusterSpec, TrainingSpec
from lft_ray.config.base import SCHEDULERS
from lft_ray.errors import LftError
from lft_ray.plugins import resolve
from lft_ray.records import TrialRecord, TrialResult
from lft_ray.run.ledger import Ledger, StartedTrial, driver_lock
from lft_ray.run.storage import Storage
from lft_ray.search.dispatcher import Dispatcher
from lft_ray.search.endings import Endings
from lft_ray.search.interfaces import Listener, Queued, StudyPlan
from lft_ray.search.samplers.proposer import Proposer
from lft_ray.search.space import start_table
from lft_ray.search.tune.tuner import run_trials
from tests.search.trivial import COSTS, SIZES, Trivial, space

TRAINING = TrainingSpec(batch_size=[16, 32], epochs=[1, 2, 3])


def price(result: TrialResult, trial: StartedTrial) -> TrialRecord:
    variants = [
        v.model_copy(update={"usd_per_million_predictions": COSTS[result.config.model_size]}) for v in result.variants
    ]
    fields = {name: getattr(result, name) for name in TrialResult.model_fields if name != "variants"}
    return TrialRecord(
        **fields,
        variants=variants,
        role=trial.role,
        confirms=trial.confirms,
        start=trial.start,
        training_usd=result.usage.core_s * 1e-5,
    )


def search(
    run_uri: str,
    cluster: ClusterHandle,
    *,
    trials: int = 8,
    slots: int = 2,
    sampler: str = "random",
    deterministic: bool = True,
    listener: Listener | None = None,
    worker: Any = None,
    scheduler: str = "fifo",
    deadline: float | None = None,
    **trivial: Any,
) -> list[TrialRecord]:
    ledger = Ledger(Storage(run_uri))
    ledger.adopt(price)
    plan = StudyPlan(
        queue=tuple(Queued(c) for c in start_table(SIZES, TRAINING)),
        trials=trials,
        slots=slots,
        is_deterministic=deterministic,
        rule=resolve(scheduler, SCHEDULERS, where="search.scheduler")(0),
        known_cost=lambda config: COSTS[config.model_size],
    )
    dispatcher = Dispatcher(
        ledger,
        plan,
        Proposer(space(TRAINING), sampler, 0, lambda config: COSTS[config.model_size]),
        price,
        listener=listener,
        endings=Endings.on_this_machine(run_uri, plan.memory_bytes),
    )
    worker = worker or Trivial(run_uri, **trivial)
    run_trials(dispatcher, worker, cluster, TRAINING, deadline=deadline)
    return ledger.records()


def leave(error: LftError) -> None:
    print(f"error: {error}", file=sys.stderr, flush=True)
    os._exit(error.exit_code)


def main() -> None:
    run_uri = sys.argv[1]
    options = {key: json.loads(value) for key, _, value in (item.partition("=") for item in sys.argv[2:])}
    storage = Storage(run_uri)
    with (
        when_stuck(leave), driver_lock(storage), connect(ClusterSpec(), object_store_mb=100) as cluster,
    ):  # fmt: skip
        storage.put("connected", "")
        began = time.time()
        records = search(run_uri, cluster, **options)
        storage.put("finished", f"{time.time() - began:.2f}")
    print(len(records))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except LftError as error:
        # As the command does: what Ray left in this process may keep it from ending by itself.
        leave(error)
