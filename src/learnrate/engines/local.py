"""Trainings in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from learnrate.training import train_segment

if TYPE_CHECKING:
    from collections.abc import Callable

    from learnrate.schedules import ScheduleMaker
    from learnrate.training import Row, Segment, Trainable


class LocalEngine:
    """Runs each segment in this process, one after another: the default."""

    def train(
        self, problem: Trainable, segment: Segment, schedule: ScheduleMaker, on_row: Callable[[Row], None]
    ) -> bool:
        """Train a segment from where the problem stands; return whether it diverged."""
        return train_segment(problem, segment, schedule, on_row)
