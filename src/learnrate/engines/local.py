"""Trainings on this machine: in this process, or in several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from learnrate import _checks
from learnrate.errors import InvalidArgumentError
from learnrate.training import train_segment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from learnrate.engines._processes import Processes
    from learnrate.schedules import ScheduleMaker
    from learnrate.training import Row, Segment, Trainable


class LocalEngine:
    """Trains in this process, one training after another; or several at a time, each in a process of its own.

    A process that dies (killed, out of memory, a crash in native code) costs its own training what came after the last
    checkpoint: it is begun again from there, twice at most, and is FAILED after that; the others go on. Ctrl-C, an
    error, or the death of this process ends them all, with whatever they have started.

    The problem goes to each process by cloudpickle; where it cannot, pass a function without arguments that builds
    it. Each process trains by an equal share of the cores (OMP_NUM_THREADS and its kin are set to it, unless you have
    set them), so that they do not fight for them. Sums of floats depend on the number of threads, so answers equal
    those of one process bit for bit where both have the same.

    Args:
        num_workers: Trainings at a time. 1 trains in this process, unless a timeout or GPUs ask for one beside it.
        gpus: The GPUs to use, by number or by the names that CUDA_VISIBLE_DEVICES takes, one for each worker; None
            leaves every worker all that this process sees.
        timeout: Seconds that an epoch may take; a training that takes longer is ended and FAILED. None waits for ever.

    Raises:
        InvalidArgumentError: If an argument cannot be used, or there are fewer GPUs than workers.

    Example:
        >>> import learnrate
        >>> from learnrate.testing import QuadraticTrainable
        >>> engine = learnrate.LocalEngine(num_workers=2)
        >>> learnrate.sweep(QuadraticTrainable(), [0.1, 1.0], epochs=2, engine=engine).learning_rate
        1.0
    """

    def __init__(
        self, num_workers: int = 1, gpus: Sequence[int | str] | None = None, timeout: float | None = None
    ) -> None:
        self.num_workers = _checks.positive_integer("num_workers", num_workers)
        self.gpus = None if gpus is None else [str(gpu) for gpu in gpus]
        self.timeout = None if timeout is None else _checks.positive_number("timeout", timeout)
        if self.gpus is not None and len(set(self.gpus)) < self.num_workers:
            raise InvalidArgumentError(
                f"{self.num_workers} workers and the GPUs {', '.join(self.gpus) or 'none'}: each worker has one of its "
                "own, so pass as many as workers, or fewer workers"
            )

    @property
    def has_workers(self) -> bool:
        """Whether it trains in processes of their own."""
        return self.num_workers > 1 or self.gpus is not None or self.timeout is not None

    def train(
        self, problem: Trainable, segment: Segment, schedule: ScheduleMaker, on_row: Callable[[Row], None]
    ) -> bool:
        """Train a segment in this process from where the problem stands; return whether it diverged."""
        return train_segment(problem, segment, schedule, on_row)

    def open(self, folder: Path) -> Processes:
        """Begin the processes; each starts when it gets its first task."""
        from learnrate.engines._processes import Processes

        return Processes(self.num_workers, gpus=self.gpus, timeout=self.timeout, folder=folder)
