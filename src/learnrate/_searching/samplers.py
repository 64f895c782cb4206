"""Which hyperparameters to try next: a function of what is asked, the seed, the trial's number and what is known."""

# optuna's types are partial:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import importlib.util
import itertools
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar, get_args

import numpy as np

from learnrate._checks import did_you_mean
from learnrate._searching.around import around
from learnrate._searching.space import Choice
from learnrate.errors import InvalidArgumentError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    import numpy.typing as npt
    import optuna

    from learnrate._searching.space import Space
    from learnrate.curves import Mode

SamplerName = Literal["tpe", "gp", "random", "qmc", "grid", "around"]
UNTOLD: tuple[SamplerName, ...] = ("random", "qmc", "grid")
"""These propose whatever the trials before have come to."""
Point = dict[str, Any]
Key = tuple[float, ...]
_T = TypeVar("_T")

STARTUP = 10
"""Points that fill the space evenly before a model of it is made."""

ATTEMPTS = 5
"""Proposals of a point that was tried before, until one is taken at random among those that were not."""


CLOSEST = 4
"""Points that broke, closest to a proposal along one parameter, until another is asked for."""


class Told(NamedTuple):
    """What is known of a point: its metric; after how many epochs, where it was stopped early; None where it broke."""

    point: Mapping[str, Any]
    value: float | None
    stopped_at: int | None = None


class Sampler:
    """Proposes points of a space, none twice.

    "grid" goes through all of them in order, "random" draws each by itself, "qmc" fills the space evenly (Sobol's
    sequence, scrambled). "tpe" (Bergstra et al. 2011) and "gp" (Gaussian processes) are Optuna's; they begin with
    `STARTUP` points of "qmc" and learn from what they are told. "around" begins likewise, until a training has come to
    its end, and looks around the best of those that have. A point that broke is told to TPE as pruned and to GP
    as no better than the worst, so that both turn away from where training breaks.

    A proposal depends on the space, the seed, the number and what is told, and on nothing else: every ask has a
    sampler made anew, so that a search that is resumed goes on as if it had never stopped.

    Args:
        name: Which sampler.
        space: What to choose from.
        seed: Of the whole search.
        mode: Whether small values are better, or large ones.

    Raises:
        InvalidArgumentError: If there is no such sampler, or no grid of a continuum.
        MissingExtraError: If "gp" lacks PyTorch, which Optuna fits it with.
    """

    def __init__(self, name: SamplerName, space: Space, *, seed: int, mode: Mode) -> None:
        check_sampler(name, space)
        self._name = name
        self._space = space
        self._seed = seed
        self._mode: Mode = mode
        self._memory: _Memory | None = None
        self._keys: list[Key] = []
        self._tried: set[Key] = set()
        self._running: dict[int, Mapping[str, Any]] = {}
        self._broke = _Growing[Told](lambda one: one.value is None, bool, may_change=True)
        logs = [name for name in space if getattr(space[name], "log", False)]
        self._columns = _Growing[Key](
            lambda key: [np.log(value) if name in logs else value for name, value in zip(space, key, strict=True)],
            float,
            may_change=False,
        )

    def ask(self, number: int, told: Sequence[Told], pending: Sequence[Mapping[str, Any]] = ()) -> Point | None:
        """Return the next point, None where all have been tried.

        Args:
            number: The trial's number, from 0.
            told: What is known, in the order of the trials: what was told before, and maybe more.
            pending: Points that are being tried, in the order in which they began.
        """
        space = self._space
        tried = self._tried_so_far(told, pending)
        if len(tried) >= space.size:
            return None
        if self._name == "grid":
            return next(point for point in space.points() if space.key(point) not in tried)
        for attempt in range(ATTEMPTS):
            point = self._propose(number, attempt, told, pending)
            if space.key(point) not in tried and (attempt == ATTEMPTS - 1 or not self._breaks(point, told)):
                return point
        return self._untried(number, tried)

    def _tried_so_far(self, told: Sequence[Told], pending: Sequence[Mapping[str, Any]]) -> set[Key]:
        """Return the keys of all points; only those are made that are new since the last call."""
        keys = [self._space.key(one.point) for one in told[len(self._keys) :]]
        self._keys += keys
        self._tried.update(keys)
        if len(self._running) > 2 * len(pending) + STARTUP:
            self._running.clear()
        for point in reversed(pending):
            if self._running.get(id(point)) is point:
                break  # those before it were pending then
            self._running[id(point)] = point
            self._tried.add(self._space.key(point))  # what is tried will be told
        return self._tried

    def _breaks(self, point: Point, told: Sequence[Told]) -> bool:
        """Return whether, seen along some parameter, all that was tried closest to a point broke."""
        if len(told) < STARTUP or self._name in UNTOLD:
            return False
        broke = self._broke.all_of(told)
        if np.count_nonzero(broke) < CLOSEST:
            return False
        known, here = self._columns.all_of(self._keys), self._columns.made(self._space.key(point))
        for column, name in enumerate(self._space):
            distance = np.abs(known[:, column] - here[column])
            closest = np.argpartition(distance, CLOSEST - 1)[:CLOSEST]
            if isinstance(self._space[name], Choice) and distance[closest].any():
                continue  # other choices are no neighbours
            if broke[closest].all():
                return True
        return False

    def _propose(self, number: int, attempt: int, told: Sequence[Told], pending: Sequence[Mapping[str, Any]]) -> Point:
        generator = np.random.default_rng([self._seed, number, attempt])
        learns = self._name in ("tpe", "gp") and len(told) >= STARTUP and any(one.value is not None for one in told)
        if learns:
            return self._learned(int(generator.integers(2**31)), told, pending)
        if self._name == "around" and len(told) >= STARTUP:
            whole = [one for one in told if one.value is not None and one.stopped_at is None]
            if whole:
                best = (min if self._mode == "min" else max)(whole, key=lambda one: one.value or 0.0)
                return around(self._space, best.point, generator)
        if self._name == "random" or attempt:
            return self._space.at(generator.random(len(self._space)))
        from scipy.stats import qmc  # pyright: ignore[reportMissingTypeStubs]  # scipy has none

        sequence = qmc.Sobol(len(self._space), scramble=True, rng=np.random.default_rng([self._seed]))
        return self._space.at(sequence.fast_forward(number).random(1)[0] if number else sequence.random(1)[0])

    def _untried(self, number: int, tried: set[Key]) -> Point:
        """Return a point at random among those that are left."""
        space, generator = self._space, np.random.default_rng([self._seed, number, ATTEMPTS])
        if space.size <= 100_000:
            left = [point for point in space.points() if space.key(point) not in tried]
            return left[generator.integers(len(left))]
        drawn = (space.at(generator.random(len(space))) for _ in itertools.count())
        return next(point for point in drawn if space.key(point) not in tried)

    def _learned(self, seed: int, told: Sequence[Told], pending: Sequence[Mapping[str, Any]]) -> Point:
        if self._memory is None:
            self._memory = _Memory(self._space, self._mode, prunes=self._name == "tpe")
        with quiet():
            import optuna

            study = self._memory.study(told, pending)
            if self._name == "gp":
                study.sampler = optuna.samplers.GPSampler(n_startup_trials=0, seed=seed)
                asked = study.ask(self._memory.distributions)
                found = asked.params
            else:
                asked = study.ask()  # lets go of what Optuna remembers of the trials
                sampler = optuna.samplers.TPESampler(n_startup_trials=0, seed=seed, constant_liar=bool(pending))
                now = study.get_trials(deepcopy=False)[-1]
                # asked for itself, since a trial would first look at the parameters of all others, which takes longer
                found = sampler.sample_relative(study, now, self._memory.distributions)
            study.tell(asked, state=optuna.trial.TrialState.FAIL)  # what comes of it is told as another trial
        return {name: self._space[name].value(found[name]) for name in self._space}


class _Growing(Generic[_T]):
    """An array made of a list that grows; what was there before is made again only where it has changed.

    Args:
        made: Makes a row of an entry.
        kind: Of the array.
        may_change: Whether entries may be replaced; comparing them takes a while where there are many.
    """

    def __init__(self, made: Callable[[_T], Any], kind: type, *, may_change: bool) -> None:
        self.made = made
        self._kind = kind
        self._may_change = may_change
        self._seen: list[_T] = []
        self._rows: npt.NDArray[Any] | None = None

    def all_of(self, entries: Sequence[_T]) -> npt.NDArray[Any]:
        """Return a row for each entry."""
        kept = len(self._seen)
        if self._rows is None or (self._may_change and entries[:kept] != self._seen):
            self._seen, self._rows = list(entries), np.array([self.made(one) for one in entries], self._kind)
            return self._rows
        new = entries[kept:]
        if len(entries) > len(self._rows):  # by half more each time, so that growing costs little
            room = np.empty((len(entries) * 3 // 2, *self._rows.shape[1:]), self._kind)
            room[:kept] = self._rows[:kept]
            self._rows = room
        for place, one in enumerate(new, kept):
            self._rows[place] = self.made(one)
        self._seen += new
        return self._rows[: len(entries)]


def check_sampler(name: Any, space: Space) -> None:
    """Raise an error if there is no such sampler, or it cannot sample this space."""
    if name not in get_args(SamplerName):
        known = ", ".join(f'"{one}"' for one in get_args(SamplerName))
        hint = did_you_mean(str(name), get_args(SamplerName))
        raise InvalidArgumentError(f"sampler is {name!r}: pass one of {known}{hint}")
    endless = [one for one in space if space[one].size == np.inf]
    if name == "grid" and endless:
        raise InvalidArgumentError(
            f"a grid needs values to go through, and {', '.join(endless)} has a continuum: pass a list, such as "
            "[1e-4, 1e-3, 1e-2], or another sampler"
        )
    if name == "gp" and importlib.util.find_spec("torch") is None:
        raise MissingExtraError(
            'sampler="gp" fits its Gaussian process with PyTorch; run: pip install learnrate[torch]'
        )


class _Memory:
    """Optuna's study in memory, told what is known; only what is new is told where the rest is as it was."""

    def __init__(self, space: Space, mode: Mode, *, prunes: bool) -> None:
        self._space = space
        self._mode = mode
        self._prunes = prunes
        self._told: list[tuple[float | None, int | None]] = []
        self._running: dict[tuple[float, ...], int] = {}
        self._study: optuna.Study | None = None
        self.distributions = {name: space[name].distribution() for name in space}

    def study(self, told: Sequence[Told], pending: Sequence[Mapping[str, Any]]) -> optuna.Study:
        """Return the study as it stands; what is pending runs there, which keeps proposals away from it."""
        import optuna

        outcomes = [(one.value, one.stopped_at) for one in told]
        kept = len(self._told)
        changed = outcomes[:kept] != self._told
        if self._study is None or changed or (not self._prunes and any(one.value is None for one in told)):
            direction = "minimize" if self._mode == "min" else "maximize"
            self._study, kept = optuna.create_study(direction=direction), 0
            self._running.clear()
        for one in told[kept:]:
            number = self._running.pop(self._space.key(one.point), None) if self._running else None
            if number is not None:
                self._study.tell(number, state=optuna.trial.TrialState.FAIL)  # its place is taken by what came of it
            self._study.add_trial(self._frozen(one, told))
        for point in pending:
            key = self._space.key(point)
            if key not in self._running:
                self._running[key] = len(self._study.get_trials(deepcopy=False))
                self._study.add_trial(self._begun(point))
        self._told = outcomes
        return self._study

    def _begun(self, point: Mapping[str, Any]) -> optuna.trial.FrozenTrial:
        import optuna

        state = optuna.trial.TrialState.RUNNING
        return optuna.trial.create_trial(state=state, params=self._params(point), distributions=self.distributions)

    def _params(self, point: Mapping[str, Any]) -> dict[str, Any]:
        params = {name: self._space[name].seen(point[name]) for name in self._space}
        return {name: int(value) if value == int(value) else value for name, value in params.items()}

    def _frozen(self, one: Told, told: Sequence[Told]) -> optuna.trial.FrozenTrial:
        import optuna

        params = self._params(one.point)
        if not self._prunes:
            worst = (max if self._mode == "min" else min)(each.value for each in told if each.value is not None)
            value = worst if one.value is None else one.value
            return optuna.trial.create_trial(params=params, distributions=self.distributions, value=value)
        if one.value is None or one.stopped_at is not None:
            known = {} if one.value is None or one.stopped_at is None else {one.stopped_at: one.value}
            state = optuna.trial.TrialState.PRUNED
            return optuna.trial.create_trial(
                state=state, params=params, distributions=self.distributions, intermediate_values=known
            )
        return optuna.trial.create_trial(params=params, distributions=self.distributions, value=one.value)


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Keep Optuna's messages back, and only here: its verbosity is put back as the user has set it."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
