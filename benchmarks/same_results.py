"""Whether two source trees find the same: trial configurations, F1s and winner of one experiment without a clock.

python benchmarks/same_results.py BEFORE_TREE AFTER_TREE [--experiment experiments/quickstart.yaml] [--keep FOLDER]

Each tree runs `lft search` of its own copy of the experiment with ``search.minutes=null``, in this environment. The
second run is given the serving profiles that the first one measured: measured costs differ between any two runs, and
the sampler weighs them; everything else is decided by the seed. Compared are configuration, status, curve and the F1 of
every variant of every trial, and the winner. Prints a table and, on the last line, one JSON object; exits with 1 where
they differ.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CONFIRMATION = {"confirmation_fraction": 0.25, "confirmation_seeds": 2}
OLD_NAMES = {"confirmation_fraction": "confirm_share", "confirmation_seeds": "confirm_seeds"}


def lft(tree: Path, *words: str) -> str:
    """Run the command of a tree, its messages shown; returns what it printed."""
    variables = os.environ | {"PYTHONPATH": str(tree), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "lft_ray", *words]
    return subprocess.run(command, cwd=tree, env=variables, stdout=subprocess.PIPE, text=True, check=True).stdout


def search(tree: Path, experiment: str, storage: Path, profiles: Path | None) -> Path:
    """Search in ``storage``; returns the run folder."""
    schema = lft(tree, "env", "--schema")
    keys = {name if name in schema else OLD_NAMES[name]: value for name, value in CONFIRMATION.items()}
    sets = [f"storage={storage}", "name=same", "search.minutes=null", *(f"selection.{k}={v}" for k, v in keys.items())]
    run = storage / "same"
    run.mkdir(parents=True)
    if profiles is not None:
        shutil.copy(profiles, run / "profiles.json")
    lft(tree, "search", experiment, *(word for text in sets for word in ("--set", text)))
    return run


def findings(run: Path) -> dict[str, Any]:
    """What must be equal: trials by id, and the winner."""
    trials = {}
    for path in sorted(run.glob("trials/*/record.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        trials[record["trial_id"]] = {
            "config": record["config"],
            "role": record["role"],
            "status": record["status"],
            "curve": [[point["fraction"], point["f1"], point["loss"]] for point in record["curve"]],
            "f1": {f"{v['precision']}/{v['max_length']}": v["f1"] for v in record["variants"]},
        }
    chosen = json.loads((run / "selection.json").read_text(encoding="utf-8"))
    winner = {key: chosen["winner"][key] for key in ("trial_id", "model_size", "precision", "max_length", "f1")}
    return {"trials": trials, "winner": winner | {key: chosen[key] for key in ("winner_seed_trial_id", "test_f1")}}


def main() -> None:
    """Run both trees and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs=2, type=Path, metavar=("BEFORE_TREE", "AFTER_TREE"))
    parser.add_argument("--experiment", default="experiments/quickstart.yaml", help="path inside both trees")
    parser.add_argument("--keep", type=Path, help="folder for both runs; one that is there already is not run again")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="lft-same-"))
    before, after = (folder.resolve() / name / "same" for name in ("before", "after"))
    trees = [tree.resolve() for tree in options.trees]
    if not (before / "selection.json").exists():
        search(trees[0], options.experiment, before.parent, None)
    if not (after / "selection.json").exists():
        search(trees[1], options.experiment, after.parent, before / "profiles.json")
    old, new = findings(before), findings(after)
    ids = sorted(set(old["trials"]) | set(new["trials"]))
    differing = [trial for trial in ids if old["trials"].get(trial) != new["trials"].get(trial)]
    for trial in ids:
        one, other = old["trials"].get(trial), new["trials"].get(trial)
        shown = other or one or {}
        verdict = "differs" if trial in differing else "equal"
        print(f"{trial}  {verdict:<8} {shown['config']['model_size']:<10} {shown['f1']}")
    row = {
        "benchmark": "same_results",
        "trials": len(ids),
        "differing_trials": differing,
        "winner_before": old["winner"],
        "winner_after": new["winner"],
        "equal": not differing and old["winner"] == new["winner"],
    }
    print(json.dumps(row))
    sys.exit(0 if row["equal"] else 1)


if __name__ == "__main__":
    main()
