"""A study for other tools: Optuna's dashboard, a table, TensorBoard."""

# optuna's types are partial:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING, Any

from learnrate._searching.samplers import quiet
from learnrate._searching.space import LEARNING_RATE, plain
from learnrate._watching.standing import state_told
from learnrate.errors import InvalidArgumentError, StudyError
from learnrate.results import TrialState
from learnrate.training import Event, EventKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from learnrate.results import Trial
    from learnrate.study import Study

_STATES = {TrialState.COMPLETE: "COMPLETE", TrialState.FAILED: "FAIL"}  # Optuna has no other word for diverged


def trials_of(study: Study) -> list[Trial]:
    """Return a study's trials that have ended, or were left.

    Raises:
        StudyError: If there is none.
    """
    trials = [trial for trial in study.trials() if trial.number >= 0]  # a range test's climbs are no trainings
    if not trials:
        raise StudyError(f"{study.folder} has no trial yet: there is nothing to export")
    return trials


def to_csv(study: Study, path: Path) -> None:
    """Write a line for each trial: its hyperparameters, its state, its value and what it took."""
    trials = trials_of(study)
    names = list(dict.fromkeys(name for trial in trials for name in trial.hyperparameters))
    holder = study.holder()
    known = ["number", "state", "value", "standard_error", "epochs", "seconds", "seed"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*known[:3], *names, *known[3:]])
        for one in trials:
            error = one.standard_error
            outcome = [one.number, state_told(one, holder), "" if one.value is None else one.value]
            settings = [one.hyperparameters.get(name, "") for name in names]
            table.writerow([*outcome, *settings, "" if error is None else error, one.epochs, one.seconds, one.seed])


def to_tensorboard(study: Study, folder: Path) -> None:
    """Write a run for each trial, with its hyperparameters, for TensorBoard's HParams."""
    from learnrate._watching.tensorboard import TensorBoard

    with TensorBoard(folder) as board:
        for trial in trials_of(study):
            board(Event(kind=EventKind.TRIAL_FINISHED, message="", spent=0.0, budget=None, trial=trial))


def to_optuna(study: Study, url: str) -> str:
    """Write a study into a storage of Optuna's, for optuna-dashboard; return the name it has there.

    A trial that diverged is one that was pruned there. Its metric by epoch is kept as intermediate values.

    Args:
        study: What to export.
        url: Where to: "sqlite:///trials.db", or any other that SQLAlchemy knows.

    Raises:
        InvalidArgumentError: If the storage cannot be opened.
        StudyError: If there is a study of that name already.
    """
    trials = trials_of(study)
    name = study.folder.name
    mode, metric = study.settings.get("mode", "min"), study.settings.get("metric", "loss")
    with quiet():
        import optuna

        try:
            storage = optuna.storages.RDBStorage(url)
        except Exception as error:  # SQLAlchemy's errors are of many kinds
            raise InvalidArgumentError(
                f"--optuna {url}: cannot open it ({error}): pass a URL such as sqlite:///trials.db"
            ) from error
        if name in optuna.study.get_all_study_names(storage):
            raise StudyError(f"{url} has a study named {name} already: delete it there, or name another file")
        direction = "minimize" if mode == "min" else "maximize"
        target = optuna.create_study(storage=storage, study_name=name, direction=direction)
        distributions = _distributions(study.settings.get("space", {}), trials)
        holder = study.holder()
        target.add_trials([_frozen(trial, distributions, metric, state_told(trial, holder)) for trial in trials])
    return name


def _frozen(trial: Trial, distributions: Mapping[str, Any], metric: str, state: str) -> Any:
    import optuna

    given = {name: _optunas(value) for name, value in trial.hyperparameters.items() if name in distributions}
    name = metric if metric in trial.curve.metrics else "loss"
    values = trial.curve.metrics.get(name, [])
    rows = zip(trial.curve.epochs.tolist(), values, strict=False)
    ended = trial.state if trial.value is not None or trial.state is not TrialState.COMPLETE else TrialState.DIVERGED
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState[_STATES.get(ended, "PRUNED")],
        value=trial.value if ended is TrialState.COMPLETE else None,
        params=given,
        distributions={name: distributions[name] for name in given},
        intermediate_values={math.ceil(epoch): float(value) for epoch, value in rows if math.isfinite(value)},
        user_attrs={
            "state": state,
            "epochs": trial.epochs,
            "seed": trial.seed,
            "seconds": trial.seconds,
            "error": trial.error,
        },
    )


def _distributions(space: Mapping[str, Mapping[str, Any]], trials: Sequence[Trial]) -> dict[str, Any]:
    """Return what each hyperparameter was drawn from; where that is not known, a range that has all its values."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for trial in trials for name in trial.hyperparameters):
        values = [trial.hyperparameters[name] for trial in trials if name in trial.hyperparameters]
        about = space.get(name, {})
        kind = about.get("kind")
        if kind in ("uniform", "log_uniform"):
            found[name] = FloatDistribution(about["low"], about["high"], log=kind == "log_uniform")
        elif kind == "integers":
            found[name] = IntDistribution(about["low"], about["high"], log=about["log"])
        elif kind == "choice":
            found[name] = CategoricalDistribution([_optunas(value) for value in about["values"]])
        elif all(isinstance(value, int | float) for value in values):
            found[name] = FloatDistribution(min(values), max(values), log=name == LEARNING_RATE and min(values) > 0)
        else:
            found[name] = CategoricalDistribution(list(dict.fromkeys(_optunas(value) for value in values)))
    return found


def _optunas(value: Any) -> Any:
    """Return a value as Optuna keeps it: a list as text."""
    return value if value is None or isinstance(value, bool | int | float | str) else str(plain(value))
