"""A server under a Python with syne-tune: hosts one `MOASHA`, reads requests from stdin, writes responses to stdout."""

import datetime
import json
import sys
import time
from typing import Any

import numpy as np
from syne_tune import config_space
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

trials: dict[int, Trial] = {}
scheduler: Any = None


def make(message: dict[str, Any]) -> dict[str, Any]:
    global scheduler
    # Its `suggest` draws from numpy's global generator; random_seed does not reach it.
    np.random.seed(message["seed"])
    space = {
        "model_size": config_space.choice(message["sizes"]),
        "learning_rate": config_space.loguniform(message["rates"][0], message["rates"][-1]),
        "epochs": config_space.choice(message["epochs"]),
        "batch_size": config_space.choice(message["batches"]),
    }
    scheduler = MOASHA(space, metrics=["error", "cost"], max_t=message["max_t"], random_seed=message["seed"])
    return {}


def handle(message: dict[str, Any]) -> dict[str, Any]:
    match message["do"]:
        case "make":
            return make(message)
        case "suggest":
            began = time.thread_time()
            return {"config": scheduler.suggest().config, "seconds": time.thread_time() - began}
        case "add":
            trial = Trial(message["trial"], message["config"], datetime.datetime.now(tz=datetime.UTC))
            trials[message["trial"]] = trial
            scheduler.on_trial_add(trial)
            return {}
        case "result":
            return {"decision": scheduler.on_trial_result(trials[message["trial"]], message["result"])}
        case "remove":
            scheduler.on_trial_remove(trials[message["trial"]])
            return {}
        case _:
            scheduler.on_trial_complete(trials[message["trial"]], message["result"])
            return {}


for line in sys.stdin:
    sys.stdout.write(json.dumps(handle(json.loads(line)), default=lambda value: value.item()) + "\n")
    sys.stdout.flush()
