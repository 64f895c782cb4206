"""The page docs/benchmarks.md: its table, its figures and its chart, from the answers of all methods."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.regret.answers import Answer, Judge

DOCS = Path(__file__).parents[2] / "docs"
BAD = 0.05
LABELS = {
    "select_1.3": "`select`, budget 1.3",
    "select_2": "`select`, budget 2",
    "select_5": "`select`, budget 5",
    "range_test": "`range_test`, 100 steps",
    "default": "the optimizer's default in PyTorch",
    "lr_finder": "torch-lr-finder, steepest",
    "fastai_valley": "fastai, valley",
    "fastai_slide": "fastai, slide",
    "fastai_steep": "fastai, steep",
    "fastai_minimum": "fastai, minimum",
    "lightning": "Lightning",
    "random_5": "random, 5 full runs",
    "random_20": "random, 20 full runs",
    "optuna_2": "Optuna TPE with the median pruner, 2 runs",
    "optuna_5": "Optuna TPE with the median pruner, 5 runs",
    "optuna_10": "Optuna TPE with the median pruner, 10 runs",
    "one_epoch": "one epoch at 15 half-decade values",
}


@dataclass(frozen=True)
class Summary:
    """One method's row of the table."""

    method: str
    regrets: np.ndarray  # one a case
    cost: float  # median, in full training runs, the final training included
    unmeasured: int = 0

    @property
    def median(self) -> float:
        """The regret of the middle case."""
        return float(np.median(self.regrets))

    @property
    def worst(self) -> float:
        """The largest regret."""
        return float(self.regrets.max())

    @property
    def share_bad(self) -> float:
        """How many cases lost more than 5 %."""
        return float(np.mean(self.regrets > BAD))


def summaries(rows: Sequence[Answer], judge: Judge) -> list[Summary]:
    """A row for each method that has answered, in the table's order; answers not measured yet are left out."""
    found = []
    for method in LABELS:
        mine = [row for row in rows if row.method == method]
        known = [
            row
            for row in mine
            if row.regret is not None or row.learning_rate is None or judge.known(row.task, row.learning_rate)
        ]
        if known:
            costs = [row.cost + (0.0 if row.with_final else 1.0) for row in known]
            regrets = np.array([judge.regret(row) for row in known])
            found.append(Summary(method, regrets, float(np.median(costs)), len(mine) - len(known)))
    return found


def summary_text(found: Sequence[Summary]) -> str:
    """The table as plain text."""
    lines = [f"{'method':44} cases  cost  median   worst  over 5 %  over 2 %"]
    lines += [
        f"{LABELS[row.method]:44} {len(row.regrets):5d} {row.cost:5.2f} {row.median:7.2%} {row.worst:7.1%}"
        f" {row.share_bad:8.0%} {np.mean(row.regrets > 0.02):8.0%}"
        + (f"  ({row.unmeasured} not measured)" if row.unmeasured else "")
        for row in found
    ]
    return "\n".join(lines)
