"""How much each hyperparameter matters, measured after a search."""

# optuna's types are partial:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import TYPE_CHECKING

from learnrate._searching.samplers import quiet
from learnrate.results import TrialState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from learnrate._searching.space import Space
    from learnrate.curves import Mode
    from learnrate.results import Trial

LEAST = 10
"""Trials that ended well, below which an importance would say nothing."""


def importance(trials: Sequence[Trial], space: Space, mode: Mode) -> dict[str, float]:
    """Return each parameter's share in what tells the best tenth of the trials from all, the largest first.

    PED-ANOVA compares the distribution of a parameter's values in the best tenth with that in all trials (Watanabe,
    Bansal and Hutter 2023, arXiv:2304.10255). The shares add up to 1. Empty for fewer than `LEAST` trials that ended
    well, or where nothing tells them apart.
    """
    ended = [one for one in trials if one.state is TrialState.COMPLETE and one.value is not None]
    if len(ended) < LEAST or len({one.value for one in ended}) == 1:
        return {}
    with quiet():
        import optuna

        study = optuna.create_study(direction="minimize" if mode == "min" else "maximize")
        distributions = {name: space[name].distribution() for name in space}
        for one in ended:
            params = {name: space[name].seen(space[name].recorded(one.hyperparameters[name])) for name in space}
            params = {name: int(value) if value == int(value) else value for name, value in params.items()}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=one.value))
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    total = sum(found.values())
    return {name: float(share) / total for name, share in found.items()} if total > 0 else {}
