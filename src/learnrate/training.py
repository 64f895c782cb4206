"""What can be trained, and the one loop that trains it: learning rate x schedule x epochs."""

from __future__ import annotations

import enum
import functools
import inspect
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, cast, runtime_checkable

import msgspec
import numpy as np

from learnrate.errors import UnsupportedProblemError
from learnrate.results import Trial  # noqa: TC001  # msgspec reads the type when it encodes an event
from learnrate.schedules import as_values
from learnrate.stopping import Stopping  # noqa: TC001  # msgspec reads the type when it makes the struct

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from pathlib import Path

    from learnrate._trials.tasks import Workers
    from learnrate.curves import Array
    from learnrate.schedules import ScheduleMaker

Snapshot = Any
Part = Literal["training", "validation"]
"""Which of a problem's data."""

BLOCK = 64
"""Steps a call of `train`: short enough to see a divergence and Ctrl-C soon, long enough to cost nothing."""


@runtime_checkable
class Trainable(Protocol):
    """A model, its optimizer and its data, ready to train.

    These members are all that the verbs need. A few more are used where a Trainable has them:

    - `learning_rate: float | None`, the rate that the user has set, to compare the answer with;
    - `framework: str | None`, whose lines a result gives to paste: "torch", "keras", "sklearn" or "jax";
    - `evaluation_steps: float`, what one `evaluate` costs in training steps (0 where absent);
    - `num_validation_samples: int | None`, how many samples an `evaluate` is a mean over, to tell noise from trouble;
    - `begin(learning_rate, epochs, seed)`, called after the restore that starts a fresh training: reseed whatever
      draws random numbers (shuffling, dropout, augmentation), so that a training depends on its seed alone;
    - `describe() -> Mapping[str, str | int | float]`, what makes this problem this problem, so that a study folder
      is not continued with another; numbers, also inside of texts, are compared to rounding, and hashes cannot be;
    - `constant_rate_only: bool`, True where the rate cannot change from step to step (a function, a command): there
      is then no range test and no schedule of ours;
    - `warnings: list[str]`, what was changed or found that the user should know with the answer;
    - `first_bad_sample(part) -> str | None`, which sample of the "training" or the "validation" data is the first that
      holds NaN or infinity, in words; asked only where a loss was not finite before training, or everything diverged;
    - `close()`, called when a verb ends: let go of what was held for trainings that could have gone on;
    - `prepare(*, metric, schedule, epochs, folder)`, called when a verb begins: the metric that decides, the schedule's
      maker, the epochs of a full training, and the study's folder or None;
    - `let_go(learning_rate)`, called for a training that is not expected to go on; where there is this member, a
      training that goes on after it is one that was trained again from its beginning, and costs as much;
    - `comes_whole(learning_rate, epochs, seed) -> bool`, whether a training can only be had in one piece, with
      `whole: bool | None`, the same where it is known without beginning one, and `takes_epochs: bool`, whether it can
      be had for fewer epochs;
    - `stack(snapshots) -> Stack`, several copies of the problem that are trained in one program, each from one of these
      snapshots, all of which stand at the same place in the data; it raises `UnsupportedProblemError` with the reason,
      in a line, where that cannot be done. `dimensions: Dimensions` tells whether it is worth it;
    - `stack_seeds(snapshots) -> Stack`, the same for copies of several seeds, each from a snapshot that was taken after
      `begin` with its seed: each goes on with batches and random numbers of its own. `train` may report "loss" alone.
    """

    steps_per_epoch: int

    def train(self, learning_rates: Array) -> Mapping[str, Array]:
        """Make one optimizer update per entry, at that rate.

        Returns "loss", and any other training metrics, one value per step. A loss of NaN or infinity is returned as
        it is, the rest of the block with it. A block never crosses the end of an epoch.
        """
        ...

    def evaluate(self) -> Mapping[str, float]:
        """Return the validation metrics over all the validation data, named `val_…`; changes nothing."""
        ...

    def snapshot(self) -> Snapshot:
        """Return a copy of weights, buffers, optimizer state, random generators and the place in the data."""
        ...

    def restore(self, snapshot: Snapshot) -> None:
        """Put everything back as it was at the snapshot, bit for bit, in place."""
        ...

    def save(self, snapshot: Snapshot, path: Path) -> None:
        """Write a snapshot to a file, never by pickle."""
        ...

    def load(self, path: Path) -> Snapshot:
        """Read a snapshot that `save` wrote."""
        ...


class Stack(Protocol):
    """Copies of a problem side by side, trained over the same batches, each at a learning rate of its own.

    There are K of them, fewer after `keep`. They take the problem over: its data and random generators go on with
    them, and its own weights mean nothing until it is restored. What one copy does, NaN or not, never reaches another.
    """

    def train(self, learning_rates: Array) -> Mapping[str, Array]:
        """Make one update per row of an array of (steps, K) rates; return what `Trainable.train` does, (steps, K)."""
        ...

    def evaluate(self) -> Mapping[str, Array]:
        """Return the validation metrics of each copy, (K,); changes nothing."""
        ...

    def keep(self, places: Sequence[int]) -> None:
        """Go on with these copies alone, in this order."""
        ...

    def snapshot(self, place: int) -> Snapshot:
        """Return a copy as the snapshot that the problem would have, had it been trained at these rates alone."""
        ...


class Dimensions(NamedTuple):
    """How large a problem is, as far as it decides whether copies are worth being trained in one program.

    Attributes:
        framework: What computes: "torch", "jax".
        device: Where: "cpu", "cuda".
        num_parameters: How many numbers are trained.
        batch_samples: How many samples an update takes.
        is_dense: Whether no parameter has more than two axes: a convolution's has, and is used at each place.
    """

    framework: str
    device: str
    num_parameters: int
    batch_samples: float
    is_dense: bool


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """The unit of work: one trial from one step to another, at a learning rate, on a schedule, with a seed.

    The schedule runs over `total_steps`; a segment with `first_step` 0 starts from the initial weights, any other
    from where the trial's last segment ended. Nothing else decides what comes out.
    """

    trial: int
    learning_rate: float
    first_step: int
    last_step: int
    total_steps: int
    seed: int
    stage: str
    stopping: Stopping | None = None

    @property
    def key(self) -> str:
        """What a study remembers the segment by."""
        rate = float(self.learning_rate).hex()
        return f"{self.stage}/{self.trial}/{rate}/{self.first_step}-{self.last_step}of{self.total_steps}/{self.seed}"


class Row(NamedTuple):
    """What one stretch of training reported: how many epochs are finished, and the metrics there.

    A training that diverged `at_once` did so in its very first loss, before any update: no learning rate did it.
    """

    epoch: float
    metrics: dict[str, float]
    diverged: bool
    at_once: bool = False


class EventKind(enum.Enum):
    """What an `Event` tells."""

    PLAN = "plan"
    STAGE = "stage"
    TRIAL_STARTED = "trial started"
    EPOCH = "epoch"
    TRIAL_FINISHED = "trial finished"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened while a verb was at work; `on_event` receives each as it happens.

    `spent` and `budget` are in full training runs; `message` names the stage in words. A PLAN comes before the first
    training, and again once it is known how long the rest takes: its `message` says what will be spent.
    """

    kind: EventKind
    message: str
    spent: float
    budget: float | None
    trial: Trial | None = None


class Engine(Protocol):
    """Where segments are trained: see `learnrate.engines`."""

    def train(
        self, problem: Trainable, segment: Segment, schedule: ScheduleMaker, on_row: Callable[[Row], None]
    ) -> bool:
        """Train a segment here from where the problem stands, calling `on_row` at each row; return if it diverged."""
        ...

    @property
    def has_workers(self) -> bool:
        """Whether it trains elsewhere, by the workers that `open` begins, or all in this process."""
        ...

    def open(self, folder: Path) -> Workers:
        """Begin the workers; what they save is put into the folder."""
        ...


def train_segment(
    problem: Trainable,
    segment: Segment,
    schedule: ScheduleMaker,
    on_row: Callable[[Row], None],
) -> bool:
    """Train one segment as `rows_of` does, calling `on_row` with each row; return whether it diverged."""
    rows = rows_of(problem, segment, schedule)
    while True:
        try:
            row = next(rows)
        except StopIteration as end:
            return bool(end.value)
        on_row(row)


def rows_of(problem: Trainable, segment: Segment, schedule: ScheduleMaker) -> Generator[Row, None, bool]:
    """Train one segment from where the problem stands, yielding a row at each evaluation; return whether it diverged.

    The metrics are evaluated at every epoch's end and at the segment's. A row's training metrics are means since the
    epoch began, or over the second half of a training that is shorter than one epoch, whose first losses say little.
    The segment's stopping rules are told each epoch; where they end it, the last row tells where.
    """
    route = Route(segment, schedule, problem.steps_per_epoch)
    while not route.is_over:
        row = route.trained(problem.train(route.rates()))
        if row is None and route.evaluates:
            row = route.evaluated(problem.evaluate())
        if row is not None:
            yield row
    return route.diverged


class Route:
    """The way of one segment: which rates come next, what was reported on them, and where it ends.

    Whoever trains asks for the `rates` of the next block, tells what was `trained`, and where the route `evaluates`
    what was `evaluated`; both give a row where there is something to say.
    """

    def __init__(self, segment: Segment, schedule: ScheduleMaker, steps_per_epoch: int) -> None:
        first, last = segment.first_step, segment.last_step
        self._rates = as_values(schedule(segment.learning_rate, segment.total_steps), first, last)
        self._segment = segment
        self._per_epoch = steps_per_epoch
        self._rules = None if segment.stopping is None else segment.stopping.start(segment.learning_rate)
        self._reports: list[Mapping[str, Array]] = []
        self._step = self._end = first
        self.diverged = False

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to train: the end, a divergence, or a rule that says so."""
        stopped = self._rules is not None and self._rules.stop
        return self._step >= self._segment.last_step or stopped or self.diverged

    @property
    def evaluates(self) -> bool:
        """Whether an epoch or the segment ends here."""
        return self._step % self._per_epoch == 0 or self._step == self._segment.last_step

    def rates(self) -> Array:
        """Return the learning rates of the next block."""
        first, last = self._segment.first_step, self._segment.last_step
        epoch_end = (self._step // self._per_epoch + 1) * self._per_epoch
        self._end = min(self._step + BLOCK, epoch_end, last)
        factor = 1.0 if self._rules is None else self._rules.factor
        return factor * self._rates[self._step - first : self._end - first]

    def trained(self, report: Mapping[str, Array]) -> Row | None:
        """Take what the block reported; where it diverged, that is the last row."""
        is_first, self._step = self._step == 0, self._end
        self._reports.append(report)
        finite = np.isfinite(report.get("loss", np.zeros(1)))  # a function may report validation metrics alone
        if finite.all():
            return None
        self.diverged = True
        at_once = is_first and not finite[0]
        return Row(self._step / self._per_epoch, _means(self._reports), diverged=True, at_once=at_once)

    def evaluated(self, metrics: Mapping[str, float]) -> Row | None:
        """Take what was evaluated at an epoch's end or the segment's; a function may have nothing to say there."""
        short = self._segment.last_step < self._per_epoch
        values = _means(self._reports, second_half=short) | dict(metrics)
        self._reports = []
        if self._rules is not None and self._step % self._per_epoch == 0:
            self._rules.update(self._step // self._per_epoch, values)
        return Row(self._step / self._per_epoch, values, diverged=False) if values else None


def _means(reports: list[Mapping[str, Array]], *, second_half: bool = False) -> dict[str, float]:
    names = dict.fromkeys(name for report in reports for name in report)
    columns = {name: np.concatenate([report[name] for report in reports if name in report]) for name in names}
    return {
        name: float(np.mean(column[len(column) // 2 :] if second_half else column)) for name, column in columns.items()
    }


def built(problem: object) -> tuple[Trainable, Callable[[], Trainable] | None]:
    """Return the problem, and the function without arguments that builds it, where it was given as one.

    Raises:
        UnsupportedProblemError: If there is nothing that can be trained.
    """
    function = cast("Callable[[], Trainable]", problem)
    if (inspect.isroutine(problem) or isinstance(problem, functools.partial)) and _builds(function):
        return require_trainable(function()), function
    return require_trainable(function), None


def _builds(function: Callable[..., Any]) -> bool:
    """Tell a function that builds a problem from one that trains: it needs nothing, and takes no learning rate."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some callables written in C do not tell
        return False
    if "learning_rate" in parameters:
        return False
    return all(
        one.kind is one.VAR_POSITIONAL or (one.kind is not one.VAR_KEYWORD and one.default is not one.empty)
        for one in parameters.values()
    )


def require_trainable(problem: object) -> Trainable:
    """Return the problem if it can be trained, a function as a Trainable, or raise an error that says what is missing.

    Raises:
        UnsupportedProblemError: If a member of `Trainable` is missing, or `steps_per_epoch` is not a positive integer.
    """
    needed = ("steps_per_epoch", "train", "evaluate", "snapshot", "restore", "save", "load")
    missing = [name for name in needed if not hasattr(problem, name)]
    if missing and callable(problem) and not inspect.isclass(problem):
        from learnrate.adapters.function import FunctionTrainable, takes_learning_rate

        function = cast("Callable[..., Any]", problem)
        if inspect.isroutine(problem) or isinstance(problem, functools.partial) or takes_learning_rate(function):
            return FunctionTrainable(function)
    if missing or not isinstance(problem, Trainable):
        came = type(problem).__name__
        msg = (
            f"cannot train a {came}: it lacks {', '.join(missing)}. Pass a TorchTrainable, KerasTrainable, "
            f"SklearnTrainable or JaxTrainable, an object with the members of learnrate.Trainable, or a function"
        )
        raise UnsupportedProblemError(msg)
    steps: Any = problem.steps_per_epoch
    if not isinstance(steps, int | np.integer) or steps <= 0:
        msg = f"steps_per_epoch is {steps!r}: an epoch needs at least one step, an integer"
        raise UnsupportedProblemError(msg)
    return problem
