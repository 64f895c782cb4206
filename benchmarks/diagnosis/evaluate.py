"""Says how often `learnrate.diagnose` is right on the labelled set: python benchmarks/diagnosis/evaluate.py.

The rules were tuned to one half of the curves. Which half a curve is in depends on its name alone: the checksum of the
name is even in the half that was tuned to, and the published comparison of learning rates belongs to it as well.
"""

from __future__ import annotations

import csv
import zlib
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from learnrate import diagnose
from learnrate.curves import LearningCurve

if TYPE_CHECKING:
    from learnrate.results import Diagnosis

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Labelled:
    """A curve as it is shown, what it was called by hand, and what came after it."""

    name: str
    curve: LearningCurve
    label: str
    also: str  # a second verdict that is not wrong, written down together with the first
    onset: tuple[float, float] | None  # the first and the last epoch at which overfitting may be said to begin
    num_validation_samples: int
    later: dict[str, np.ndarray]  # each metric over twice the epochs; empty where training was not continued

    @property
    def tuned(self) -> bool:
        """Whether the rules were tuned to it."""
        return self.name.startswith("reference") or zlib.crc32(self.name.encode()) % 2 == 0

    def is_right(self, diagnosis: Diagnosis) -> bool:
        """Whether a diagnosis gives one of the labels."""
        return diagnosis.verdict.value in {self.label, self.also}


@cache
def labelled() -> list[Labelled]:
    """Return the whole set."""
    curves = np.load(HERE / "curves.npz")
    with (HERE / "labels.csv").open() as file:
        return [_labelled(row, curves) for row in csv.DictReader(file)]


def _labelled(row: dict[str, str], curves: dict[str, np.ndarray]) -> Labelled:
    name = row["name"]
    shown, samples, continued = curves[f"{name}/about"].tolist()
    metrics = {
        metric: curves[f"{name}/{metric}"].astype(np.float64)
        for metric in ("loss", "accuracy", "val_loss", "val_accuracy")
        if f"{name}/{metric}" in curves and ("loss" in metric or np.isfinite(curves[f"{name}/{metric}"]).all())
    }
    epochs = np.arange(1.0, shown + 1)
    return Labelled(
        name=name,
        curve=LearningCurve(epochs=epochs, metrics={key: values[:shown] for key, values in metrics.items()}),
        label=row["label"],
        also=row["also"],
        onset=(float(row["first_onset"]), float(row["last_onset"])) if row["first_onset"] else None,
        num_validation_samples=samples,
        later=metrics if continued else {},
    )


def outlook_holds(one: Labelled, metric: str) -> bool | None:
    """Say whether the best value over twice the epochs lies in the outlook's interval; None where it is not known."""
    mode = "min" if "loss" in metric else "max"
    outlook = diagnose(one.curve, metric=metric, mode=mode).outlook
    if outlook is None or metric not in one.later or not np.isfinite(one.later[metric]).all():
        return None
    best = float(one.later[metric].min() if mode == "min" else one.later[metric].max())
    return outlook.low - 1e-9 <= best <= outlook.high + 1e-9


def main() -> None:
    for tuned in (True, False):
        half = [one for one in labelled() if one.tuned == tuned]
        found = {one.name: diagnose(one.curve) for one in half}
        right = [one for one in half if one.is_right(found[one.name])]
        first = sum(found[one.name].verdict.value == one.label for one in half)
        print(
            f"{'tuned to' if tuned else 'held out'}: {len(right)} of {len(half)} right ({len(right) / len(half):.1%}),"
        )
        print(f"  {first} of them the first of two labels;", dict(Counter(one.label for one in half)))
        holds = [outlook_holds(one, metric) for one in half for metric in one.curve.metrics]
        known = [one for one in holds if one is not None]
        print(f"  outlook: {sum(known)} of {len(known)} in the 90 % interval ({sum(known) / len(known):.0%})")
        for one in half:
            if one not in right:
                print(f"  wrong: {one.name}: {one.label}, said to be {found[one.name]}")


if __name__ == "__main__":
    main()
