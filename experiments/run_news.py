"""experiments/news.yaml through the Python API: the same stages, one call each.

python experiments/run_news.py ag_news/train.parquet ag_news/test.parquet
"""

import sys

from lft_ray import Experiment
from lft_ray.pipeline import export, run_search


def main(train: str, test: str) -> None:
    """Search, then write the bundle of the winner."""
    overrides = [f"data.train={train}", f"data.test={test}", "name=news-api"]
    experiment = Experiment.load("experiments/news.yaml", overrides)
    run = run_search(experiment, replace=True)
    selection = run.selection()
    assert selection is not None
    print(selection.reason)
    print(f"test macro-F1 {selection.test_f1:.4f} on {selection.test_rows} rows")
    print(export(run).uri)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(sys.argv[1], sys.argv[2])
