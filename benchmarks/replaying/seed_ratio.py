"""How well M = parameters / sqrt(train rows) predicts the best size. In: recorded tables. Out: one row per task.

Each task's best size is predicted from the other tasks alone: the size whose log M is nearest to the mean log M of
their best sizes. A size is scored by its best setting's mean over seeds.
"""

import math
from collections.abc import Sequence
from typing import Any

from .table import Table

__all__ = ["best_sizes"]


def best_sizes(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Best size, its M, the size that the other tasks predict, and and the F1 lost by it (or by the largest size)."""
    scored = {table.task: _best_f1(table) for table in tables}
    ratios = {t.task: {s: t.params[s] / math.sqrt(t.train_rows) for s in scored[t.task]} for t in tables}
    best = {task: max(f1s, key=lambda size: f1s[size]) for task, f1s in scored.items()}
    rows = []
    for table in tables:
        f1s, ratio = scored[table.task], ratios[table.task]
        others = [math.log(ratios[task][size]) for task, size in best.items() if task != table.task]
        predicted = None
        if others:
            centre = sum(others) / len(others)
            predicted = min(ratio, key=lambda size: abs(math.log(ratio[size]) - centre))
        top = f1s[best[table.task]]
        rows.append(
            {
                "task": table.task,
                "train_rows": table.train_rows,
                "best": best[table.task],
                "m_best": round(ratio[best[table.task]]),
                "predicted": predicted,
                "loss_predicted": round(top - f1s[predicted], 4) if predicted else None,
                "loss_largest": round(top - f1s[max(ratio, key=lambda size: ratio[size])], 4),
            }
        )
    return rows


def _best_f1(table: Table) -> dict[str, float]:
    best: dict[str, float] = {}
    for config in table.grid():
        if config.learning_rate is not None:
            best[config.model_size] = max(best.get(config.model_size, 0.0), table.final_f1(config))
    return best
