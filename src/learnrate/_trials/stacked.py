"""Several trainings in one program: copies of a problem side by side, each at its own rate, over the same batches."""

from __future__ import annotations

import functools
import itertools
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, get_args

import numpy as np

from learnrate._trials.ramp import Ramp
from learnrate._trials.work import WorkHere
from learnrate.errors import InvalidArgumentError, LearnrateError, UnsupportedProblemError
from learnrate.training import Dimensions, Route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from learnrate._trials.laboratory import Laboratory
    from learnrate.curves import Array
    from learnrate.results import Trial
    from learnrate.training import Row, Segment, Snapshot, Stack, Trainable

Vectorized = Literal["auto"] | bool
"""Whether trainings that do not depend on each other go on in one program: where it pays, never, or always."""


def checked_vectorized(value: Any) -> Vectorized:
    """Return whether to train in one program.

    Raises:
        InvalidArgumentError: It is neither "auto" nor True nor False.
    """
    if isinstance(value, bool) or value in get_args(get_args(Vectorized)[0]):
        return cast("Vectorized", value)
    raise InvalidArgumentError(f'vectorized is {value!r}: pass "auto", True or False')


FEWEST_ON_CPU = 6
"""Copies: at batches of 32, 4 copies of an MLP 784-32-10 gain nothing in PyTorch, 7 a factor 1.9, 16 a factor 3.2."""
MOST_PARAMETERS_ON_CPU = 30_000
"""At 25,450 parameters 16 copies gain a factor 2.4 to 3.2, at 101,770 a factor 1.3, and 4 copies there 0.9."""
MOST_WORK_ON_CPU = 7_000_000
"""Parameters times samples in an update: 25,450 times 256 gain a factor 1.6 with 7 copies, more was not measured."""
MOST_WORK_ON_A_DEVICE = 1_000_000_000
"""Likewise on a GPU. Not measured: it computes some hundred times as fast as a core, and is asked for as slowly."""


def pays(size: Dimensions, num_copies: int) -> bool:
    """Tell whether many small trainings in one program are faster than one after another.

    A rule of the problem's size alone, so that an answer does not depend on how busy a machine is. On a CPU they are
    faster where Python and the framework take longer to ask for the work than a core takes to do it; convolutions
    become grouped ones there, which gain nothing (factors of 0.7 to 1.3), and JAX compiles the copies for seconds that
    a short sweep does not win back. The figures are processor time on one core.
    """
    work = size.num_parameters * size.batch_samples
    if size.device != "cpu":
        return work <= MOST_WORK_ON_A_DEVICE
    return (
        size.framework == "torch"
        and size.is_dense
        and num_copies >= FEWEST_ON_CPU
        and size.num_parameters <= MOST_PARAMETERS_ON_CPU
        and work <= MOST_WORK_ON_CPU
    )


class Together(NamedTuple):
    """Trains a laboratory's segments in one program.

    Attributes:
        lab: The laboratory.
        why: Why they are trained so, in words.
    """

    lab: Laboratory
    why: str

    def train(self, segments: Sequence[Segment]) -> Iterator[Trial]:
        """Train segments that do not depend on each other; give their trials as they end.

        What a killed process has left goes on from where it was: what stands at one step goes on together.
        """
        works = [WorkHere.opened(self.lab, segment, None) for segment in segments]
        works.sort(key=lambda work: work.segment.first_step)
        for _, several in itertools.groupby(works, key=lambda work: work.segment.first_step):
            group = list(several)
            if len(group) == 1:
                yield self.lab.finish(group[0])
            else:
                yield from self._train(group)

    def _train(self, works: list[WorkHere]) -> Iterator[Trial]:
        lab = self.lab
        stack = cast("_Stackable", lab.problem).stack(_starts(lab, works))
        lab.shelf.in_memory = max(lab.shelf.in_memory, len(works) + 1)  # as much again as the copies take
        lab.pace.begin()
        lanes = [
            _Lane(work, Route(work.segment, lab.schedule, lab.problem.steps_per_epoch), stack, place)
            for place, work in enumerate(works)
        ]
        while lanes:
            report = stack.train(np.stack([lane.route.rates() for lane in lanes], axis=1))
            for place, lane in enumerate(lanes):
                lane.tell(lane.route.trained(_column(report, place)))
            yield from (lane.end() for lane in lanes if lane.route.diverged)
            lanes = _kept(stack, lanes, [lane for lane in lanes if not lane.route.diverged])
            if lanes and lanes[0].route.evaluates:  # all stand at the same step
                found = stack.evaluate()
                for place, lane in enumerate(lanes):
                    lane.tell(lane.route.evaluated({name: float(values[place]) for name, values in found.items()}))
                yield from (lane.end() for lane in lanes if lane.route.is_over)
                lanes = _kept(stack, lanes, [lane for lane in lanes if not lane.route.is_over])
                _pause(lab, lanes)


class SeedsTogether:
    """Makes the climbs of a range test with several seeds in one program.

    Attributes:
        why: Why they are made so, in words; None once it has shown that they cannot be.
    """

    def __init__(self, lab: Laboratory, why: str, *, must: bool) -> None:
        self.why: str | None = why
        self._lab = lab
        self._must = must

    def ramps(self, learning_rates: Array, seeds: Sequence[int]) -> dict[int, Array]:
        """Return the losses of each seed's climb; nothing where it shows on the way that they cannot go together.

        Raises:
            UnsupportedProblemError: It shows, and they have to.
        """
        lab = self._lab
        if self.why is None or len(seeds) < 2:
            return {}
        stack = cast("_Stackable", lab.problem).stack_seeds(_begun(lab, float(learning_rates[-1]), seeds))
        climbs = {seed: Ramp(learning_rates, lab.steps_per_epoch) for seed in seeds}
        going = list(climbs.values())
        try:
            while going:
                rates = going[0].rates()  # all stand at the same step
                losses = stack.train(np.repeat(rates[:, None], len(going), axis=1))["loss"]
                for place, climb in enumerate(going):
                    climb.take(losses[:, place])
                left = [place for place, climb in enumerate(going) if not climb.is_over]
                if left and len(left) < len(going):
                    stack.keep(left)
                going = [going[place] for place in left]
        except Exception as error:
            own = isinstance(error, UnsupportedProblemError)
            if own and self._must:
                raise _cannot("seed", str(error).rstrip(".")) from error
            if self._must or (isinstance(error, LearnrateError) and not own):
                raise
            # The user's code may raise at weights that are no longer finite: by itself such a climb has broken.
            obstacle = str(error).rstrip(".") if own else f"it raised {type(error).__name__}"
            self.why = None
            lab.spent += sum(lab.cost(len(climb.losses), 0) for climb in climbs.values())
            lab.warnings.append(_apart("seed", obstacle))
            return {}
        return {seed: climb.losses for seed, climb in climbs.items()}


class _Stackable:
    """What a problem needs for its copies to be trained in one program."""

    stack: Callable[[Sequence[Snapshot]], Stack]
    stack_seeds: Callable[[Sequence[Snapshot]], Stack]


class _Lane:
    """One training of a stack."""

    def __init__(self, work: WorkHere, route: Route, stack: Stack, place: int) -> None:
        self.work = work
        self.route = route
        self._stack = stack
        self.moved_to(place)

    def moved_to(self, place: int) -> None:
        """Take another place in the stack."""
        self.place = place
        self.work.snapshot = functools.partial(self._stack.snapshot, place)

    def tell(self, row: Row | None) -> None:
        if row is not None:
            self.work.take(row)

    def end(self) -> Trial:
        return self.work.ended(diverged=self.route.diverged, error=None, snapshot=self.work.snapshot)


def _kept(stack: Stack, lanes: list[_Lane], left: list[_Lane]) -> list[_Lane]:
    """Let what has ended leave the stack; return what is left."""
    if left and len(left) < len(lanes):
        stack.keep([lane.place for lane in left])
        for place, lane in enumerate(left):
            lane.moved_to(place)
    return left


def _pause(lab: Laboratory, lanes: list[_Lane]) -> None:
    """Leave a checkpoint of all, where one is due."""
    if lanes and lab.checkpoint_due():
        began = time.perf_counter()
        for lane in lanes:
            lane.work.pause()
        lab.pace.wrote(began)


def _starts(lab: Laboratory, works: list[WorkHere]) -> list[Snapshot]:
    if works[0].before is None:
        lab.go_to_start(works[0])
        return [lab.problem.snapshot()] * len(works)
    return [lab.shelf.get(work.segment.trial, work.segment.first_step) for work in works]


def _column(report: Mapping[str, Array], place: int) -> dict[str, Array]:
    return {name: values[:, place] for name, values in report.items()}


def together(lab: Laboratory, vectorized: Vectorized, num_copies: int, start: Snapshot) -> Together | None:
    """Return what trains so many of a laboratory's segments in one program; None where that is not to be.

    Where it would pay and cannot be done, the laboratory is warned with the reason.

    Raises:
        UnsupportedProblemError: It has to be, and cannot.
    """
    why = _why(lab, vectorized, num_copies, "learning rate", lambda: _obstacle(lab, start))
    return None if why is None else Together(lab, why)


def seeds_together(lab: Laboratory, vectorized: Vectorized, seeds: Sequence[int]) -> SeedsTogether | None:
    """Return what makes the climbs of several seeds in one program; None where that is not to be, as `together`.

    Raises:
        UnsupportedProblemError: It has to be, and cannot.
    """
    why = _why(lab, vectorized, len(seeds), "seed", lambda: _obstacle_to_seeds(lab, seeds))
    return None if why is None else SeedsTogether(lab, why, must=vectorized is True)


def _why(
    lab: Laboratory, vectorized: Vectorized, num_copies: int, what: str, obstacle_to: Callable[[], str | None]
) -> str | None:
    """Say in words why to train in one program; None where that is not to be."""
    size: Dimensions | None = getattr(lab.problem, "dimensions", None)
    if vectorized is False or num_copies < 2:
        return None
    if vectorized == "auto" and (lab.engine.has_workers or size is None or not pays(size, num_copies)):
        return None
    obstacle = obstacle_to()
    if obstacle is None:
        return "asked for" if vectorized is True or size is None else f"auto: {_words(size)}"
    if vectorized is True:
        raise _cannot(what, obstacle)
    lab.warnings.append(_apart(what, obstacle))
    return None


def _cannot(what: str, obstacle: str) -> UnsupportedProblemError:
    return UnsupportedProblemError(
        f'vectorized=True cannot be done here: {obstacle}. Pass vectorized="auto" or False, which train one '
        f"{what} after another."
    )


def _apart(what: str, obstacle: str) -> str:
    return f"the {what}s were trained one after another, not in one program: {obstacle}"


def _obstacle(lab: Laboratory, start: Snapshot) -> str | None:
    problem: Trainable = lab.problem
    if lab.engine.has_workers:
        return "the engine trains in other processes, one training in each"
    if not hasattr(problem, "stack"):
        return f"a {type(problem).__name__} does not know how to train several copies in one program"
    try:
        cast("_Stackable", problem).stack([start, start])
    except UnsupportedProblemError as error:
        return str(error).rstrip(".")
    finally:
        problem.restore(start)
    return None


def _obstacle_to_seeds(lab: Laboratory, seeds: Sequence[int]) -> str | None:
    if lab.metric != "loss":
        return f"{lab.metric} is looked at after each step, of one training at a time"
    if not hasattr(lab.problem, "stack_seeds"):
        return f"a {type(lab.problem).__name__} does not know how to train several seeds in one program"
    start = lab.problem.snapshot()
    try:
        cast("_Stackable", lab.problem).stack_seeds(_begun(lab, 1e-3, seeds[:2]))
    except UnsupportedProblemError as error:
        return str(error).rstrip(".")
    finally:
        lab.problem.restore(start)
    return None


def _begun(lab: Laboratory, learning_rate: float, seeds: Sequence[int]) -> list[Snapshot]:
    several: list[Snapshot] = []
    for seed in seeds:
        lab.restart(learning_rate, lab.epochs, seed)
        several.append(lab.problem.snapshot())
    return several


def _words(size: Dimensions) -> str:
    return f"{size.framework} on {size.device}, {size.num_parameters} parameters, {size.batch_samples:g} samples a step"
