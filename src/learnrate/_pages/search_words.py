"""The sentences about a search: what a person would say about its trials and its answer."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from learnrate._numbers import duration, percent, short
from learnrate._pages.words import capital, epochs_words, facts_at_work
from learnrate._searching.stages import role
from learnrate.results import TrialState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from learnrate._watching.tally import AtWork
    from learnrate.results import Search, Trial

_LEARNING_RATE = "learning_rate"
_LONGEST = 60
"""Characters of the best values that still fit into a headline."""
_EDGE = 0.02
"""How near the end of a range, in parts of it, its best value makes one doubt the range."""
_LEAST = 10
"""Trials that have to end well before anything is said of what matters."""


def value_words(value: Any) -> str:
    """Return a hyperparameter's value as text.

    Example:
        >>> value_words(0.031933), value_words(64), value_words(None), value_words([25, 25])
        ('0.0319', '64', 'None', '[25, 25]')
    """
    return short(value, 3) if isinstance(value, float) and math.isfinite(value) else str(value)


def names_of(result: Search) -> list[str]:
    """Return the hyperparameters' names, those of the space first."""
    space: dict[str, Any] = result.settings.get("space", {})
    return list(dict.fromkeys([*space, *(name for trial in result.trials for name in trial.hyperparameters)]))


def point_words(trial: Trial, names: Sequence[str] | None = None) -> str:
    """Return a trial's hyperparameters in a line."""
    held = trial.hyperparameters
    return ", ".join(f"{name} {value_words(held[name])}" for name in names or held if name in held)


def best_values(result: Search) -> dict[str, Any]:
    """Return what the best trial was trained with, its own learning rate too where it was given one."""
    found = dict(result.hyperparameters or {})
    if found and result.learning_rate is not None:
        found.setdefault(_LEARNING_RATE, result.learning_rate)
    return found


def first_screen(result: Search) -> dict[str, Any]:
    """Return the headline, what goes with it, and the facts that a reader asks for first."""
    best = best_values(result)
    words = ", ".join(f"{name} {value_words(value)}" for name, value in best.items())
    count = len(result.trials)
    if not best:
        headline, lede = "No hyperparameters found", "No trial ended well. What was seen, and what to try, is below."
    else:
        reached = f"{result.metric} {short(result.value, 4)}"
        at = "" if result.epochs is None else f" after {short(result.epochs)} of {epochs_words(result.horizon)}"
        fits = len(words) <= _LONGEST
        headline = f"Best of {_trials(count)}: {words if fits else reached}"
        lede = (
            f"Its {result.metric} reached {short(result.value, 4)}{at}." if fits else f"Reached{at}, by these values:"
        )
    facts: list[tuple[str, str | list[str]]] = []
    if best:
        facts.append(("Best values", [f"{name} {value_words(value)}" for name, value in best.items()]))
    facts.append(("How sure", _sureness(result)))
    if edges := _edges(result):
        facts.append(("Look further", edges))
    facts.append(("What matters", _matters(result)))
    allowed = "" if result.budget is None else f"; {result.budget:.1f} were allowed"
    spent = f"{result.cost:.1f} training runs of {epochs_words(result.horizon)}{allowed}"
    return {
        "kind": "search",
        "headline": headline,
        "lede": lede,
        "facts": [*facts, ("What it cost", f"{spent}. {capital(duration(result.seconds))}.")],
        "caution": None if best else {"message": "Every trial diverged or failed", "advice": _ADVICE},
    }


def screen_at_work(result: Search, at_work: AtWork) -> dict[str, Any]:
    """Return the same while a search is at work, or after it was interrupted."""
    going = {"running": "At work", "interrupted": "Interrupted"}.get(at_work.state, "Ended")
    best = best_values(result)
    facts = facts_at_work(at_work)
    if best:
        facts.append(("Best so far", [f"{name} {value_words(value)}" for name, value in best.items()]))
    facts.append(("Trials", f"{trial_counts(result.trials)}."))
    budget = "" if at_work.budget is None else f" of {at_work.budget:g}"
    facts.append(("Spent", f"{at_work.spent:.1f}{budget} training runs, {duration(at_work.seconds)}"))
    if at_work.state == "running" and at_work.seconds_left is not None:
        facts.append(("Left", f"{duration(at_work.seconds_left)} at most"))
    reached = f"{result.metric} {short(result.value, 3)}"
    return {
        "kind": "search, not finished",
        "headline": f"{going}: search" + (f", best so far {reached}" if best else ""),
        "lede": "This is not the answer yet." if best else "No trial has ended well so far.",
        "facts": facts,
        "caution": None,
    }


_ADVICE = "Read what they say in the table of trials, and begin with smaller learning rates."


def trial_counts(trials: Sequence[Trial]) -> str:
    """Return how many trials there are, by their states."""
    states = Counter(trial.state for trial in trials)
    kinds = ", ".join(f"{states[state]} {state.value}" for state in TrialState if states[state])
    return _trials(len(trials)) + (f" ({kinds})" if kinds else "")


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def importance_words(result: Search) -> str:
    """Say in which order the hyperparameters were tuned, or would be by rule of thumb."""
    if len(result.order) > 1:
        return "Tuned in the order: " + "; then ".join(", ".join(stage) for stage in result.order) + "."
    names = names_of(result)
    groups = [[name for name in names if role(name) == place] for place in sorted({role(name) for name in names})]
    usual = "; then ".join(", ".join(group) for group in groups)
    return f"All were tuned together. By rule of thumb the order is: {usual}."


def _sureness(result: Search) -> list[str]:
    done = [trial for trial in result.trials if trial.state is TrialState.COMPLETE and trial.value is not None]
    sign = 1 if result.mode == "min" else -1
    ranked = sorted(done, key=lambda trial: sign * (trial.value or 0.0))
    lines: list[str] = []
    if result.standard_error is not None and ranked:
        spread = f"{short(result.value, 4)} ± {short(result.standard_error, 2)}"
        lines.append(f"{spread} is the mean over {len(ranked[0].folds)} folds and its standard error.")
    if len(ranked) > 1:
        lines.append(f"The second best reached {short(ranked[1].value, 4)}: {point_words(ranked[1])}.")
    if result.standard_error is None and ranked:
        lines.append("Each trial was trained once: small differences may be chance.")
    return [*lines, f"{trial_counts(result.trials)}."]


def _matters(result: Search) -> str:
    if result.importance:
        return ", ".join(f"{name} {percent(share)}" for name, share in result.importance.items())
    return f"Not measured: that takes {_LEAST} trials which ended well and differ."


def _edges(result: Search) -> list[str]:
    """Say of which ranges the best value is at an end: there may be better ones beyond."""
    lines: list[str] = []
    for name, described in result.settings.get("space", {}).items():
        value = (result.hyperparameters or {}).get(name)
        low, high = described.get("low"), described.get("high")
        if low is None or high is None or not isinstance(value, int | float) or not low <= value <= high:
            continue
        log = described.get("kind") == "log_uniform" or bool(described.get("log"))
        least, at, most = (math.log(end) if log else end for end in (low, value, high))
        part = (at - least) / (most - least)
        if min(part, 1 - part) <= _EDGE:
            end, more = ("smallest", "smaller") if part < 0.5 else ("largest", "larger")
            lines.append(f"{name} {value_words(value)} is about the {end} that was allowed: try {more} ones.")
    return lines


def sections(result: Search, slices: Sequence[str]) -> list[dict[str, Any]]:
    """Return heading, caption and alternative text of each chart."""
    names = ", ".join(names_of(result))
    press = "Press a trial to find it in the other charts and in the table."
    found: list[dict[str, Any]] = []
    if slices:
        found.append(
            {
                "id": "slices",
                "title": f"{result.metric} against each hyperparameter",
                "caption": f"Each point is a trial; the best is large and green, crosses diverged. {press}",
                "views": [f"slice-{place}" for place in range(len(slices))],
                "alt": [
                    f"{result.metric} of each trial against its {name}; the table has the data." for name in slices
                ],
            }
        )
    if result.importance:
        shares = ", ".join(f"{name} {percent(share)}" for name, share in result.importance.items())
        found.append(
            {
                "id": "importance",
                "title": "What matters most",
                "caption": "Measured: each hyperparameter's share in telling the best tenth of the trials from "
                f"all (PED-ANOVA, arXiv:2304.10255). {importance_words(result)}",
                "views": ["importance"],
                "alt": [f"Measured importance of each hyperparameter: {shares}."],
            }
        )
    if slices:
        found.append(
            {
                "id": "parallel",
                "title": "All hyperparameters side by side",
                "caption": f"A line is a trial, from its values on the left to its {result.metric} on the right: the "
                f"higher it ends, the better; the best is green. {press}",
                "views": ["parallel"],
                "alt": [f"A line for each trial through its {names} to its {result.metric}; the table has the data."],
            }
        )
    return found
