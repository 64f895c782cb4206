"""For those who write an adapter: the check that every adapter passes, and a Trainable with a known optimum."""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from learnrate._quadratic import QuadraticTrainable
from learnrate.training import Trainable, require_trainable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["QuadraticTrainable", "check_trainable"]

FloatArray = npt.NDArray[np.float64]


def check_trainable(trainable: Trainable) -> None:
    """Check that a Trainable keeps what the verbs rely on, by training it for a few epochs.

    Blocks and their reports, rates obeyed one by one, exact snapshots in the middle and at the end of an epoch and
    through a file, evaluation that changes nothing, trainings that depend on their seed alone, and divergence that is
    reported instead of raised. All comparisons are bit for bit, so the training has to be deterministic. The problem
    is put back at the end. Give it a small problem, of two steps an epoch or more.

    Args:
        trainable: The problem to check.

    Raises:
        AssertionError: A promise is broken; the message says which, and where to look.
        UnsupportedProblemError: A member of `Trainable` is missing.

    Example:
        >>> check_trainable(my_trainable)  # doctest: +SKIP
    """
    problem = _Problem(require_trainable(trainable))
    initial = trainable.snapshot()
    try:
        for check in _CHECKS:
            trainable.restore(initial)
            check(problem)
    finally:
        trainable.restore(initial)


@dataclass(frozen=True)
class _Problem:
    """A Trainable, trained in blocks that end where its epochs do, from a place that counts as an epoch's start."""

    trainable: Trainable

    @property
    def rate(self) -> float:
        return getattr(self.trainable, "learning_rate", None) or 1e-3

    @property
    def middle(self) -> int:
        """A number of steps that ends in the middle of an epoch, if an epoch has a middle."""
        return max(self.trainable.steps_per_epoch // 2, 1)

    def rates(self, steps: int) -> FloatArray:
        """Return rates that are all different, around the user's own."""
        return self.rate * np.linspace(0.5, 1.5, steps)

    def train(self, rates: FloatArray, *, after: int = 0) -> dict[str, FloatArray]:
        """Train in blocks; `after` counts the steps made since an epoch began."""
        blocks: list[Mapping[str, FloatArray]] = []
        per_epoch = self.trainable.steps_per_epoch
        start = 0
        while start < len(rates):
            stop = min(start + per_epoch - (after + start) % per_epoch, len(rates))
            blocks.append(self.trainable.train(rates[start:stop]))
            start = stop
        return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}

    def run(self, rates: FloatArray, *, after: int = 0) -> dict[str, FloatArray]:
        """Train, and evaluate at the end."""
        report = self.train(rates, after=after)
        return report | {name: np.array(value) for name, value in self.trainable.evaluate().items()}


def _check_reports(problem: _Problem) -> None:
    steps = problem.trainable.steps_per_epoch
    report = problem.trainable.train(problem.rates(steps))
    _require("loss" in report, f"train returned {sorted(report)}: it must report 'loss', a value per step")
    for name, values in report.items():
        _require(not name.startswith("val_"), f"train reported {name}: names that begin with val_ are evaluate's")
        _require(
            isinstance(values, np.ndarray) and values.shape == (steps,) and values.dtype == np.float64,  # pyright: ignore[reportUnnecessaryIsInstance]  # adapters err
            f"train reported {name} as {type(values).__name__} {getattr(values, 'shape', '')} "
            f"{getattr(values, 'dtype', '')} for {steps} rates: a float64 array of one value per rate is needed",
        )


def _check_rates(problem: _Problem) -> None:
    start = problem.trainable.snapshot()
    steps = problem.trainable.steps_per_epoch
    rates = problem.rates(steps)
    plain = problem.run(rates)
    for at in sorted({0, steps - 1}):
        other = rates.copy()
        other[at] *= 16
        problem.trainable.restore(start)
        changed = problem.train(other)["loss"]
        changed_after = problem.train(rates)["loss"]
        problem.trainable.restore(start)
        problem.train(rates)
        plain_after = problem.train(rates)["loss"]
        _require_same(
            {"loss": plain["loss"][: at + 1]},
            {"loss": changed[: at + 1]},
            f"the losses up to step {at}, after which alone the rates differed",
            "the loss of a step is the one before its update, and depends on the rates before it only",
        )
        _require(
            not np.array_equal(
                np.append(plain["loss"][at + 1 :], plain_after), np.append(changed[at + 1 :], changed_after)
            ),
            f"a learning rate 16 times as large at step {at} changed no later loss: train must use each rate given",
        )


def _check_blocks(problem: _Problem) -> None:
    start = problem.trainable.snapshot()
    rates = problem.rates(problem.trainable.steps_per_epoch)
    whole = problem.run(rates)
    for split in sorted({1, problem.middle}):
        if split < len(rates):
            problem.trainable.restore(start)
            first = problem.train(rates[:split])
            second = problem.run(rates[split:], after=split)
            both = second | {name: np.concatenate([first[name], second[name]]) for name in first}
            _require_same(
                whole,
                both,
                f"a block of {len(rates)} steps, and the same in two from step {split}",
                "blocks only group steps",
            )


def _check_snapshots(problem: _Problem) -> None:
    trainable, per_epoch = problem.trainable, problem.trainable.steps_per_epoch
    start = trainable.snapshot()
    rates = problem.rates(2 * per_epoch)
    for taken in sorted({0, problem.middle, per_epoch}):
        trainable.restore(start)
        problem.train(rates[:taken]) if taken else None
        place = f"a snapshot taken after {taken} of the {per_epoch} steps of an epoch"
        snapshot = trainable.snapshot()
        expected = problem.run(rates[taken:], after=taken)
        for detour in sorted({0, 1, problem.middle, 2 * per_epoch}):
            trainable.restore(snapshot)
            problem.train(8 * rates[:detour], after=taken) if detour else None
            trainable.restore(snapshot)
            found = problem.run(rates[taken:], after=taken)
            hint = "restore must put back weights, optimizer state, random generators and the place in the data"
            _require_same(expected, found, f"training on from {place}, and again after {detour} other steps", hint)
        trainable.restore(start)
        problem.train(rates[:taken]) if taken else None
        again = problem.run(rates[taken:], after=taken)
        _require_same(
            expected, again, f"training on from {place}, and without one", "taking a snapshot changes nothing"
        )


def _check_files(problem: _Problem) -> None:
    trainable, per_epoch = problem.trainable, problem.trainable.steps_per_epoch
    start = trainable.snapshot()
    rates = problem.rates(2 * per_epoch)
    with tempfile.TemporaryDirectory() as folder:
        for taken in sorted({problem.middle, per_epoch}):
            trainable.restore(start)
            problem.train(rates[:taken])
            path = Path(folder) / f"after-{taken}"
            trainable.save(trainable.snapshot(), path)
            expected = problem.run(rates[taken:], after=taken)
            trainable.restore(trainable.load(path))
            found = problem.run(rates[taken:], after=taken)
            words = f"training on from step {taken}, and from a snapshot of it that was saved and loaded"
            _require_same(expected, found, words, "save and load must keep every bit")


def _check_evaluation(problem: _Problem) -> None:
    trainable, per_epoch = problem.trainable, problem.trainable.steps_per_epoch
    start = trainable.snapshot()
    rates = problem.rates(2 * per_epoch)
    for taken in sorted({0, problem.middle, per_epoch}):
        runs: list[dict[str, FloatArray]] = []
        for look in (_nothing, _look):  # without an evaluation first: that is how training is by itself
            trainable.restore(start)
            first = problem.train(rates[:taken]) if taken else {}
            look(trainable)
            second = problem.train(rates[taken:], after=taken)
            runs.append({name: np.concatenate([first.get(name, []), second[name]]) for name in second})
        hint = "evaluate must leave weights, buffers, mode, random generators and the place in the data alone"
        _require_same(runs[0], runs[1], f"training without and with an evaluation after {taken} steps", hint)


def _nothing(trainable: Trainable) -> None:
    del trainable


def _look(trainable: Trainable) -> None:
    before = _global_states()
    values = trainable.evaluate()
    _require(_global_states() == before, "evaluate moved the global random generator of Python or numpy")
    for name, value in values.items():
        _require(name.startswith("val_"), f"evaluate returned {name}: its names begin with val_")
        _require(type(value) is float, f"evaluate returned {name} as a {type(value).__name__}: a float is needed")
    _require_same(values, trainable.evaluate(), "two evaluations in a row", "evaluate must change nothing")


def _check_seeds(problem: _Problem) -> None:
    begin: Callable[..., Any] | None = getattr(problem.trainable, "begin", None)
    if begin is None:
        return
    start = problem.trainable.snapshot()
    rates = problem.rates(problem.trainable.steps_per_epoch)
    runs: list[dict[str, FloatArray]] = []
    for draws in (0, 7):
        problem.trainable.restore(start)
        random.random()  # noqa: S311  # moves the generator that begin is to seed
        np.random.random(draws)  # noqa: NPY002  # moves the generator that begin is to seed
        begin(problem.rate, 1, 12345)
        runs.append(problem.run(rates))
    _require_same(
        runs[0], runs[1], "two trainings that began with the same seed", "begin must seed all that training draws from"
    )


def _check_divergence(problem: _Problem) -> None:
    start = problem.trainable.snapshot()
    steps = problem.trainable.steps_per_epoch
    expected = problem.run(problem.rates(steps))
    problem.trainable.restore(start)
    try:
        with np.errstate(all="ignore"):
            losses = problem.train(np.full(2 * steps, 1e30))["loss"]
            problem.trainable.evaluate()
    except Exception as error:
        msg = f"training at the rate 1e30 raised {error!r}: a loss that is not finite is returned, not raised"
        raise AssertionError(msg) from error
    _require(len(losses) == 2 * steps, "after a loss that is not finite the rest of the block is missing")
    problem.trainable.restore(start)
    found = problem.run(problem.rates(steps))
    _require_same(expected, found, "training before and after a divergence", "restore must put everything back")


_CHECKS = (
    *(_check_reports, _check_evaluation, _check_rates, _check_blocks),
    *(_check_snapshots, _check_files, _check_seeds, _check_divergence),
)


def _global_states() -> tuple[Any, str]:
    return random.getstate(), repr(np.random.get_state(legacy=False))  # noqa: NPY002  # the global one is what is watched


def _require(kept: bool, message: str) -> None:
    if not kept:
        raise AssertionError(message)


def _require_same(expected: Mapping[str, Any], found: Mapping[str, Any], words: str, hint: str) -> None:
    _require(expected.keys() == found.keys(), f"{words}, report {sorted(expected)} and {sorted(found)}: {hint}")
    for name, values in expected.items():
        one, other = np.atleast_1d(values), np.atleast_1d(found[name])
        if not np.array_equal(one, other, equal_nan=True):
            at = int(np.argmax(~((one == other) | (np.isnan(one) & np.isnan(other)))))
            msg = f"{words}, differ in {name}[{at}]: {one[at]!r} and {other[at]!r}; {hint}"
            raise AssertionError(msg)
