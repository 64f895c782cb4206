"""The report's sentences: what a person would say about a result."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from learnrate._answer_words import (
    break_words,
    confidence_words,
    cost_words,
    decay_words,
    fall_words,
    interval_words,
    way_words,
)
from learnrate._drawings import rate_drawings
from learnrate._numbers import duration, percent, rate, short
from learnrate._pages import code
from learnrate.results import RangeTest, Recommendation, Search, Sweep, TrialState, Verdict, advice_for

if TYPE_CHECKING:
    from learnrate._watching.tally import AtWork
    from learnrate.results import Trial

_BRIEFLY = "It trains a few steps at each rate: where that breaks is not where a whole training does."
_SHORTER = "over fewer"
SURE_ENOUGH = 0.9
_NAMES = {"one_cycle": "one-cycle", "inverse_time": "inverse-time", "warmup_stable_decay": "warmup-stable-decay"}


def setting(value: Any) -> str:
    """Return a setting's value as text."""
    if isinstance(value, float):
        return short(value, 6)
    if value is None:
        return "none"
    if isinstance(value, dict):
        held = cast("dict[str, Any]", value)
        if "kind" in held:
            inside = held.get("values") or [it for key, it in held.items() if key not in ("kind", "log")]
            log = ["log"] if held.get("log") else []
            return f"{held['kind']}({', '.join([*(setting(it) for it in inside), *log])})"
        inner: Any = held.get("settings", {key: it for key, it in held.items() if key != "name"})
        words = ", ".join(f"{key} {setting(it)}" for key, it in inner.items() if it is not None)
        return f"{held['name']} ({words})" if held.get("name") and words else str(held.get("name") or words)
    if isinstance(value, list | tuple):
        held_list = cast("list[Any]", value)
        return ("; " if any(isinstance(it, list) for it in held_list) else ", ").join(setting(it) for it in held_list)
    return value if isinstance(value, str) else json.dumps(value, default=str)


def first_screen(result: Recommendation | Sweep | RangeTest) -> dict[str, Any]:
    """Return the headline, what goes with it, and the facts that a reader asks for first."""
    found = result.verdict is Verdict.FOUND
    caution = None if found else {"message": capital(result.verdict.message), "advice": capital(advice_for(result))}
    if isinstance(result, Recommendation):
        kind, told, facts = "recommendation", "Learning rate", _recommendation_facts(result)
    elif isinstance(result, Sweep):
        name = "comparison of logs" if "logs" in result.settings else "sweep"
        kind, told, facts = name, f"Best of {trainings(len(result.trials))}: learning rate", _sweep_facts(result)
    else:
        kind, told, facts = "range test", "Learning rate", _range_test_facts(result)
    known = result.learning_rate
    headline = "No learning rate found" if known is None else f"{told} {rate(known)}"
    return {"kind": kind, "headline": headline, "lede": _lede(result), "facts": facts, "caution": caution}


def schedule_rows(result: Recommendation | Sweep | RangeTest) -> list[list[str]]:
    """Return a row of words for each schedule that was compared, the best first."""
    if not isinstance(result, Recommendation):
        return []
    sign = 1 if result.mode == "min" else -1
    ranked = sorted(result.schedules, key=lambda one: math.inf if one.value is None else sign * one.value)
    return [
        [
            capital(one.name.replace("_", " ")),
            "none" if one.learning_rate is None else rate(one.learning_rate),
            "–" if one.interval is None else f"{rate(one.interval[0])} to {rate(one.interval[1])}",
            short(one.value, 4),
            "–" if one.epochs is None else short(one.epochs),
            f"{one.cost:.1f} runs",
        ]
        for one in ranked
    ]


def screen_at_work(result: Recommendation | Sweep | RangeTest, at_work: AtWork) -> dict[str, Any]:
    """Return the same while a verb is at work, or after it was interrupted."""
    verb = at_work.verb.replace("_", "-")
    known = result.learning_rate
    going = {"running": "At work", "interrupted": "Interrupted"}.get(at_work.state, "Ended")
    headline = f"{going}: {verb}" if known is None else f"{going}: best so far is learning rate {rate(known)}"
    facts = facts_at_work(at_work)
    facts += [fact for fact in _sweep_facts(result) if fact[0] == "Tried"] if isinstance(result, Sweep) else []
    if isinstance(result, Sweep) and result.trials:
        facts.append(("Trainings", _trainings(result)))
    budget = "" if at_work.budget is None else f" of {at_work.budget:g}"
    facts.append(("Spent", f"{at_work.spent:.1f}{budget} training runs, {duration(at_work.seconds)}"))
    if at_work.state == "running" and at_work.seconds_left is not None:
        facts.append(("Left", f"{duration(at_work.seconds_left)} at most"))
    lede = "No training has ended well so far."
    if isinstance(result, Sweep) and known is not None:
        when = "" if result.epochs is None else f" after {short(result.epochs)} of {epochs_words(result.horizon)}"
        lede = f"Its {result.metric} reached {short(result.value, 3)}{when}. This is not the answer yet."
    return {"kind": f"{verb}, not finished", "headline": headline, "lede": lede, "facts": facts, "caution": None}


def facts_at_work(at_work: AtWork) -> list[tuple[str, str | list[str]]]:
    """Return what a verb at work says of itself: what it will spend, and what it does now."""
    return [(name, capital(told)) for name, told in (("Plan", at_work.plan), ("Now", at_work.stage)) if told]


def capital(text: str) -> str:
    """Return a sentence that begins with a capital letter and, if it is one of several words, stays as it is."""
    return text[:1].upper() + text[1:]


def _lede(result: Recommendation | Sweep | RangeTest) -> str:
    if result.learning_rate is None:
        return "Nothing that was tried answers the question. What was seen, and what to try next, is below."
    if isinstance(result, RangeTest):
        return "Found by raising the learning rate step by step: a place to start from, not yet a trained model."
    reached = f"{result.metric} reached {short(result.value, 3)}"
    when = "" if result.epochs is None else f" after {short(result.epochs)} of {epochs_words(result.horizon)}"
    used = [words for words in (_with_schedule(result), f"for {epochs_words(result.horizon)}") if words]
    return capital(f"{', '.join(used)}. ") + f"Its {reached}{when}."


def _with_schedule(result: Recommendation | Sweep | Search) -> str:
    plan = code.plan_of(result)
    if plan is None:
        return ""
    if plan.steady:
        return "" if code.takes_one_rate(result) else "kept constant"
    if isinstance(result, Recommendation) and result.decay is not None:
        return f"constant, then {fall_words(result.decay)}"
    name = plan.name if plan.custom else _NAMES.get(plan.name, plan.name.replace("_", " "))
    warmed = f", warmed up over the first {percent(plan.warmup)} of the run" if plan.warmup else ""
    return f"as the peak of a {name} schedule{warmed}"


def epochs_words(count: float) -> str:
    return f"{count:g} epoch" if count == 1 else f"{count:g} epochs"


def _recommendation_facts(answer: Recommendation) -> list[tuple[str, str | list[str]]]:
    facts: list[tuple[str, str | list[str]]] = []
    where, sure = interval_words(answer), confidence_words(answer)
    if where:
        facts.append(("The best lies", capital(where)))
    others = [("yours, ", answer.yours), *(("", one) for one in answer.slower)]
    costs = [f"{whose}{rate(one.learning_rate)}: {cost_words(one, answer.metric)}" for whose, one in others if one]
    if costs:
        facts.append(("Other rates", [*map(capital, costs), f"Percentages are of {way_words(answer)}."]))
    if answer.decay is not None:
        facts.append(("At the end", f"{capital(decay_words(answer))}."))
    if answer.breaks is not None:
        facts.append(("Training breaks", capital(break_words(answer.breaks))))
    told = [answer.verdict.message if answer.verdict is Verdict.FOUND else "", sure, _surer(answer)]
    facts.append(("How sure", " ".join([*(f"{capital(it)}." for it in told if it), _trainings(answer)])))
    spent = f"{answer.cost:.1f} training runs of {epochs_words(answer.horizon)}, the winner's own included"
    facts.append(("What it cost", f"{spent}; {answer.budget:.1f} were allowed. {capital(duration(answer.seconds))}."))
    return facts


def _surer(answer: Recommendation) -> str:
    """Say what would make the answer surer; empty where nothing would by much."""
    if answer.confidence is None or answer.confidence >= SURE_ENOUGH:
        return ""
    return "a larger budget compares it with its neighbours for longer, which makes it surer"


def _trainings(result: Recommendation | Sweep) -> str:
    count = len(result.trials)
    if not count:
        return "No training was run."
    full = result.raced_epochs if isinstance(result, Recommendation) else result.horizon
    kinds = Counter(_course(trial, full) for trial in result.trials)
    order = [f"over all {epochs_words(full)}", _SHORTER, *(state.value for state in TrialState)]
    told = ", ".join(f"{kinds[kind]} {kind}" for kind in order if kinds[kind])
    return f"{trainings(count)}: {told}."


def trainings(count: int) -> str:
    return "1 training" if count == 1 else f"{count} trainings"


def _course(trial: Trial, horizon: float) -> str:
    """Say how far a trial went, where nothing but its end has to be told of it, or else what became of it."""
    if trial.state is not TrialState.COMPLETE:
        return trial.state.value
    return f"over all {epochs_words(horizon)}" if trial.epochs >= horizon else _SHORTER


def _sweep_facts(result: Sweep) -> list[tuple[str, str | list[str]]]:
    facts: list[tuple[str, str | list[str]]] = []
    values = sorted({trial.learning_rate for trial in result.trials})
    if values:
        several = f"{len(values)} learning rates from {rate(values[0])} to {rate(values[-1])}"
        facts.append(("Tried", several if len(values) > 1 else f"one learning rate, {rate(values[0])}"))
    if result.untrained is not None:
        facts.append(("Untrained", f"{result.metric} {short(result.untrained, 3)} before training"))
    sure = "" if result.verdict is not Verdict.FOUND else f"{capital(result.verdict.message)}. "
    facts.append(("How sure", sure + _trainings(result)))
    spent = f"{result.cost:.1f} training runs of {epochs_words(result.horizon)}"
    took = ", as their logs tell." if "logs" in result.settings else f". {capital(duration(result.seconds))}."
    return [*facts, ("What it cost", spent + took)]


def _range_test_facts(test: RangeTest) -> list[tuple[str, str | list[str]]]:
    rules = [
        f"{name}: {'none' if value is None else rate(value)}" for name, value in rate_drawings.other_rules(test).items()
    ]
    facts: list[tuple[str, str | list[str]]] = [("Other rules", rules)] if rules else []
    facts.append(("This test broke", "nowhere in the range tried" if test.cliff is None else f"at {rate(test.cliff)}"))
    if test.cyclical_range is not None:
        low, high = test.cyclical_range
        facts.append(("For a cyclical schedule", f"{rate(low)} to {rate(high)}"))
    ends = [at for at in test.learning_rates.tolist() if at > 0]
    if ends:
        tried = f"{len(ends)} steps from {rate(min(ends))} to {rate(max(ends))}, on {test.metric}"
        tried += f", mean of {len(test.seed_losses)} seeds" if test.seed_losses else ""
        facts.append(("Tried", tried))
    if test.verdict is Verdict.FOUND:
        facts.append(("How sure", f"{capital(test.verdict.message)}. A range test sees the start of a training only."))
    cost = f"As much as {short(test.cost)} epochs of training. {capital(duration(test.seconds))}."
    return [*facts, ("What it cost", cost)]


def response_section(result: Recommendation | Sweep) -> dict[str, Any]:
    """Return heading, caption and alternative text of the response chart."""
    raced = isinstance(result, Recommendation)
    caption = (
        "Each line joins what was trained equally long, as many epochs as its colour says; a hollow point was left. "
        "The best learning rate lies in the green area, 90 % sure. Press a point to find its learning rate elsewhere."
        if raced
        else "Each point is a training, a small one if it was short. Press one to find it in the other charts."
    )
    best = "" if result.learning_rate is None else f" The best is {rate(result.learning_rate)}."
    return {
        "id": "response",
        "title": f"{result.metric} against learning rate",
        "caption": caption,
        "views": ["response"],
        "alt": [
            f"{result.metric} against learning rate, {trainings(len(result.trials))}.{best} The table has the data."
        ],
    }


def curves_section(result: Recommendation | Sweep | Search) -> dict[str, Any]:
    """Return heading, caption and alternative text of the learning curves."""
    return {
        "id": "curves",
        "title": "Learning curves",
        "caption": "Validation is solid, training dashed; the colour is the learning rate. Press a curve to find it "
        "elsewhere.",
        "views": ["curves"],
        "alt": [f"Learning curves of {trainings(len(result.trials))}; the table says what each one shows."],
    }


def range_test_section(test: RangeTest) -> dict[str, Any]:
    """Return heading, caption and alternative text of the range test."""
    answer = "no learning rate" if test.learning_rate is None else rate(test.learning_rate)
    return {
        "id": "range",
        "title": "Range test",
        "caption": f"{test.metric} while the learning rate rose: as it came, faint, and smoothed; then its change."
        + ("" if test.cliff is None else f" {_BRIEFLY}"),
        "views": ["losses", "changes"],
        "alt": [
            f"{test.metric} over the learning rate in a range test; it suggests {answer}.",
            f"Change of {test.metric} per step over the learning rate in the range test.",
        ],
    }


def schedule_section(result: Recommendation | Sweep | Search) -> dict[str, Any]:
    """Return heading, caption and alternative text of the schedule."""
    words = capital(_with_schedule(result))
    return {
        "id": "schedule",
        "title": "Schedule",
        "caption": f"{words}, over {epochs_words(result.horizon)}.",
        "views": ["schedule"],
        "alt": [f"The learning rate over {epochs_words(result.horizon)}: {words}."],
    }
