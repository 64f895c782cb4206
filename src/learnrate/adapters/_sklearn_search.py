"""scikit-learn's own search, with the samplers of `learnrate.search`."""

# scikit-learn's types are partial, estimators are of any kind, and its samples are called X:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false, reportUntypedBaseClass=false, reportPrivateUsage=false

from __future__ import annotations

import math
import numbers
import warnings
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from joblib import effective_n_jobs
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection._search import BaseSearchCV  # the base that scikit-learn documents for such classes
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval

from learnrate._checks import did_you_mean
from learnrate._searching.samplers import STARTUP, UNTOLD, Sampler, SamplerName, Told
from learnrate._searching.space import Space
from learnrate.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

NUM_ITERATIONS = 10
"""Points tried where their number is not given, as in `RandomizedSearchCV`."""


class SearchCV(BaseSearchCV):
    """Cross-validated search over an estimator's parameters, in scikit-learn's conventions.

    It takes the place of `GridSearchCV` and `RandomizedSearchCV`: `fit`, `predict`, `best_params_`, `best_score_`,
    `best_estimator_`, `cv_results_`, clones, pipelines and scorers are theirs. What differs is which points are tried:
    each is chosen by what those before it scored, and none is tried twice.

    Points are fitted in parallel over the folds. With more jobs than folds several points are asked for at a time;
    the first 10, and all of "grid", "random" and "qmc", are asked for at once, since they depend on no score.

    Args:
        estimator: Any estimator, a pipeline among them.
        space: Parameters and their values: lists, frozen distributions of scipy.stats, or `learnrate.log_uniform`,
            `uniform`, `integers`, `choice`; or a list of such dictionaries, which share the points.
        sampler: "tpe", "gp" (needs PyTorch), "around", "random", "qmc" or "grid"; see `learnrate.search`.
        n_iter: How many points to try; all of a grid, else 10, where it is None; never more than there are.
        scoring: As in `GridSearchCV`. Of several metrics the one that `refit` names is searched by, else the first.
        n_jobs: As in `GridSearchCV`.
        refit: As in `GridSearchCV`.
        cv: As in `GridSearchCV`: folds are stratified for classifiers.
        verbose: As in `GridSearchCV`.
        pre_dispatch: As in `GridSearchCV`.
        random_state: Seeds the sampler.
        error_score: As in `GridSearchCV`; a point that fails is told to the sampler as one that broke.
        return_train_score: As in `GridSearchCV`.

    Raises:
        InvalidArgumentError: In `fit`, before any training, if the space cannot be used or names no parameter.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> import learnrate
        >>> model = LogisticRegression(max_iter=500)
        >>> search = SearchCV(model, {"C": learnrate.log_uniform(1e-3, 1e3)}, n_iter=12, random_state=0)
        >>> bool(search.fit(*load_iris(return_X_y=True)).best_score_ > 0.95)
        True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {  # pyright: ignore[reportIncompatibleVariableOverride]  # so in scikit-learn
        **BaseSearchCV._parameter_constraints,  # noqa: SLF001  # scikit-learn's own classes extend it so
        "space": [dict, list],
        "sampler": [str],
        "n_iter": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        space: Any,
        *,
        sampler: SamplerName = "tpe",
        n_iter: int | None = None,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = 5,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
    ) -> None:
        super().__init__(
            estimator=estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.space = space
        self.sampler = sampler
        self.n_iter = n_iter
        self.random_state = random_state

    def _run_search(  # pyright: ignore[reportIncompatibleMethodOverride]  # callback_ctx is optional, and new in 1.9
        self, evaluate_candidates: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]]
    ) -> None:
        spaces = [Space(one) for one in (self.space if isinstance(self.space, list) else [self.space])]
        if not spaces:
            raise InvalidArgumentError("the space is an empty list: pass a dictionary of parameters")
        for space in spaces:
            self._require_parameters(space)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        name = cast("SamplerName", self.sampler)
        samplers = [Sampler(name, space, seed=seed, mode="max") for space in spaces]
        self._any_has_worked = False
        for sampler, count in zip(samplers, self._counts(spaces), strict=True):
            self._run_one(sampler, count, evaluate_candidates)

    def _run_one(self, sampler: Sampler, count: int, evaluate: Callable[[Any], Mapping[str, Any]]) -> None:
        """Try so many points of one space."""
        told: list[Told] = []
        while len(told) < count:
            batch: list[dict[str, Any]] = []
            for place in range(self._batch_size(len(told), count)):
                point = sampler.ask(len(told) + place, told, batch)
                if point is not None:
                    batch.append(point)
            told += [Told(point, score) for point, score in zip(batch, self._scores(batch, evaluate), strict=True)]

    def _scores(self, batch: list[dict[str, Any]], evaluate: Callable[[Any], Mapping[str, Any]]) -> list[float | None]:
        """Return the mean scores that decide, None for points that failed."""
        try:
            results = evaluate(batch)
        except ValueError as error:
            if "fits failed" not in str(error) or not self._any_has_worked:
                raise
            # scikit-learn gives up where every fit of a call failed, though it was the fits of one point
            warnings.warn(f"not in cv_results_, since every fit failed: {batch}{error}", FitFailedWarning, stacklevel=2)
            return [None] * len(batch)
        self._any_has_worked = True
        names = [name.removeprefix("mean_test_") for name in results if name.startswith("mean_test_")]
        asked: Any = self.refit
        name = asked if isinstance(asked, str) and asked in names else names[0]
        scores = results[f"mean_test_{name}"][-len(batch) :].tolist()
        return [score if math.isfinite(score) else None for score in scores]

    def _batch_size(self, done: int, count: int) -> int:
        if self.sampler in UNTOLD:
            return count - done
        if done < STARTUP:
            return min(STARTUP, count) - done
        jobs: int = effective_n_jobs(cast("int", self.n_jobs))
        folds: Any = self.cv
        return min(max(math.ceil(jobs / (folds if isinstance(folds, int) else 5)), 1), count - done)

    def _counts(self, spaces: Sequence[Space]) -> list[int]:
        """Share the points out among the spaces."""
        sizes = [int(min(space.size, 10**9)) for space in spaces]
        if self.sampler == "grid":
            if self.n_iter is not None and self.n_iter < sum(sizes):
                raise InvalidArgumentError(
                    f"the grid has {sum(sizes):,} points and n_iter is {self.n_iter}: pass n_iter=None for all of "
                    'them, or sampler="tpe"'
                )
            return sizes
        total, counts = self.n_iter or NUM_ITERATIONS, [0] * len(spaces)
        while total > 0 and any(count < size for count, size in zip(counts, sizes, strict=True)):
            open_ones = [place for place, size in enumerate(sizes) if counts[place] < size]
            for place in open_ones[:total]:
                counts[place] += 1
            total -= len(open_ones[:total])
        return counts

    def _require_parameters(self, space: Space) -> None:
        known = cast("Iterable[str]", self.estimator.get_params(deep=True))
        for name in space:
            replaced = any(name.startswith(f"{other}__") for other in space)  # a step that the space itself puts there
            if name not in known and not replaced:
                raise InvalidArgumentError(
                    f"{type(self.estimator).__name__} has no parameter {name!r}: "
                    f"estimator.get_params() lists them{did_you_mean(name, known)}"
                )
