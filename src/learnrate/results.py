"""What the verbs return: frozen, complete, to JSON and back; charts and reports draw what stands here."""

from __future__ import annotations

import enum
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast, get_origin

import msgspec
import numpy as np

from learnrate._answer_words import (
    break_words,
    confidence_words,
    cost_words,
    decay_words,
    fall_words,
    interval_words,
    way_words,
)
from learnrate._numbers import epoch_number, percent, rate, short
from learnrate.curves import Array, LearningCurve, Mode  # noqa: TC001  # msgspec reads the types when it decodes

if TYPE_CHECKING:
    import altair as alt


class TrialState(enum.Enum):
    """Where a trial stands. Diverged is a result, not an error: it tells where the cliff is."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    FAILED = "failed"


class Verdict(enum.Enum):
    """Whether there is an answer and, where not, why; `message` says it in words, `advice` what to try."""

    FOUND = "found"
    FLAT = "flat"
    NOISY = "noisy"
    TOO_NARROW_LEFT = "range too narrow on the left"
    TOO_NARROW_RIGHT = "range too narrow on the right"
    ALL_DIVERGED = "every learning rate diverged"
    UNDECIDED = "undecided"
    UNUSED = "the learning rate is not used"
    NO_GAIN = "no learning rate is better than no training"

    @property
    def message(self) -> str:
        """What was seen, in a sentence."""
        return _VERDICTS[self][0]

    @property
    def advice(self) -> str:
        """What to try next, in a sentence; empty where all is well."""
        return _VERDICTS[self][1]


_VERDICTS = {
    Verdict.FOUND: ("the best learning rate lies inside the range, with worse ones on both sides", ""),
    Verdict.FLAT: (
        "no learning rate in the range changes the metric by more than its noise",
        "check that the model can learn this at all: that its parameters are not frozen, that gradients reach them, "
        "and that the targets belong to the inputs; or train for longer",
    ),
    Verdict.NOISY: (
        "the differences between learning rates are smaller than the noise",
        "use larger batches, more validation data, or longer trainings",
    ),
    Verdict.TOO_NARROW_LEFT: (
        "the smallest learning rates of the range are already the best",
        "try smaller ones: lower min_learning_rate, or add them to the sweep",
    ),
    Verdict.TOO_NARROW_RIGHT: (
        "the largest learning rates of the range are still the best",
        "try larger ones: raise max_learning_rate, or add them to the sweep",
    ),
    Verdict.ALL_DIVERGED: (
        "training diverged at every learning rate",
        "look for NaN or infinity in the data and in the loss before the first update, or try smaller learning rates",
    ),
    Verdict.UNDECIDED: (
        "the budget ended before this learning rate was told from others that may be better",
        "raise the budget to train them further",
    ),
    Verdict.UNUSED: (
        "every learning rate gave the same metrics, to the last digit",
        "does the training use the rate that it is given: is {learning_rate} in the command, and is it read?",
    ),
    Verdict.NO_GAIN: (
        "the metric was best before training, at every learning rate",
        "keep the weights as they are; if training ought to help, look for the reason in the data and in the model",
    ),
}


class DiagnosisVerdict(enum.Enum):
    """What a learning curve says, in one word."""

    DIVERGED = "diverged"
    NOT_LEARNING = "not learning"
    TOO_SLOW = "too slow"
    OVERFITTING = "overfitting"
    OSCILLATING = "oscillating"
    PLATEAUED = "plateaued"
    HEALTHY = "healthy"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a learning curve shows, from 0 (hardly) to 1 (plainly), with its numbers in words."""

    kind: str
    strength: float
    evidence: str


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What more epochs would bring: the best metric to expect after `epochs` epochs, with a 90 % interval."""

    epochs: int
    value: float
    low: float
    high: float


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """What a learning curve says: see `learnrate.diagnose`."""

    verdict: DiagnosisVerdict
    findings: list[Finding]
    evidence: str
    advice: str
    best_epoch: float | None = None
    overfitting_onset: float | None = None
    generalization_gap: float | None = None
    validation_noise: float | None = None
    expected_noise: float | None = None
    outlook: Outlook | None = None

    def __str__(self) -> str:
        return f"{self.verdict.value}: {self.evidence} {self.advice}".strip()


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One training: its hyperparameters, how it went, and its curve.

    `value` is the best finite value of the deciding metric, None where there is none; `epochs` how many epochs (or
    which fraction of one) it was trained for; `horizon` the epochs over which its schedule ran: a complete trial with
    fewer epochs was stopped there by a rule. `reductions` are the epochs after which a rule lowered the rate. With
    cross-validation the curve is the mean of the folds', and `folds` each fold's metric where the mean is best.
    `extra_epochs` were trained besides: by its own `select`, or again, since a function goes on from its beginning.
    """

    number: int
    hyperparameters: dict[str, Any]
    state: TrialState
    curve: LearningCurve
    value: float | None
    seed: int
    seconds: float
    epochs: float = 0.0
    horizon: float = 0.0
    stage: str = ""
    error: str | None = None
    diagnosis: Diagnosis | None = None
    reductions: list[float] = []
    folds: list[float] = []
    extra_epochs: float = 0.0

    @property
    def learning_rate(self) -> float:
        """The trial's learning rate, the peak of its schedule; NaN where a search has no such hyperparameter."""
        return float(self.hyperparameters.get("learning_rate", math.nan))

    @property
    def standard_error(self) -> float | None:
        """The standard error of the mean over the folds, s/√K; None without folds."""
        return float(np.std(self.folds, ddof=1)) / math.sqrt(len(self.folds)) if len(self.folds) > 1 else None

    def chart(self) -> alt.TopLevelMixin:
        """Draw the trial's learning curves: an Altair chart, as every result's."""
        from learnrate import charts

        return charts.trial(self)


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What another learning rate costs at full length.

    `low` and `high` are shares of the way from the metric before training to the winner's, by which it is worse: the
    same where it was `measured`, else a range that holds in 80 % of the cases; `values` are the metrics there. Where
    training `breaks`, nothing is reached.
    """

    learning_rate: float
    low: float
    high: float
    values: tuple[float, float]
    measured: bool
    breaks: bool = False


class Break(msgspec.Struct, frozen=True, kw_only=True):
    """Where training was seen to break: a loss that is not finite, or a training loss above where it began.

    `held` is the fastest learning rate that did not, trained for `held_epochs`; None where none held. `broke` is the
    slowest above it, trained for `broke_epochs` until then.
    """

    held: float | None
    held_epochs: float
    broke: float
    broke_epochs: float


class Result(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What every verb's result can do."""

    def to_json(self) -> str:
        """Return the result as JSON; NaN and infinity become null."""
        return msgspec.json.encode(self, enc_hook=_array_to_list).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote."""
        return msgspec.json.decode(text, type=cls, dec_hook=_list_to_array)

    def chart(self) -> alt.TopLevelMixin:
        """Draw the result: an Altair chart, which notebooks show and `.save("chart.png")` writes."""
        from learnrate import charts

        return charts.draw(cast("Any", self))

    def report(self, path: str | Path) -> Path:
        """Write the result as one HTML file that opens anywhere, without a network; return its path."""
        from learnrate import _report

        return _report.report(cast("Any", self), path)


class RangeTest(Result, frozen=True, kw_only=True, eq=False):
    """What a range test saw: see `learnrate.range_test`.

    `losses` are the losses as they came, `smoothed` without their noise and without lag, `loss_changes` the change
    of the smoothed loss a step. `suggestions` has every named rule's rate (None where the rule finds none);
    `learning_rate` is ours, None where the verdict is not FOUND. `cliff` is the first rate that broke training.

    With several seeds `losses` are their mean, `seed_losses` those of each, at the same rates, as far as all of them
    went, and `cliff` the lowest rate at which any of them broke; with one seed `seed_losses` is empty. `vectorized`
    says why their climbs were made in one program; None where one after another.
    """

    learning_rates: Array
    losses: Array
    smoothed: Array
    loss_changes: Array
    metric: str
    suggestions: dict[str, float | None]
    learning_rate: float | None
    verdict: Verdict
    cliff: float | None
    seed: int
    cost: float
    seconds: float
    warnings: list[str] = []
    settings: dict[str, Any] = {}
    seed_losses: list[Array] = []
    vectorized: str | None = None

    @property
    def cyclical_range(self) -> tuple[float, float] | None:
        """The lowest and highest rate for a cyclical schedule, None where no descent was seen.

        The highest is where the loss is at its lowest, at most half of the rate that broke training; the lowest a
        quarter of that. The cyclical schedules' own default is the same quarter.

        Source: Smith, "Cyclical learning rates for training neural networks", arXiv 1506.01186, section 3.3.
        """
        tenth = self.suggestions.get("minimum / 10")
        if tenth is None:
            return None
        highest = min(10 * tenth, math.inf if self.cliff is None else self.cliff / 2)
        return highest / 4, highest

    def __str__(self) -> str:
        answer = "no learning rate" if self.learning_rate is None else f"learning rate {rate(self.learning_rate)}"
        lines = [f"{answer}    ({self.verdict.value}: {self.verdict.message})"]
        known = ", ".join(
            f"{name} {rate(value)}" for name, value in self.suggestions.items() if value and name != "learnrate"
        )
        if known:
            lines.append(f"other rules: {known}")
        if self.cliff is not None:
            lines.append(f"training breaks at {rate(self.cliff)}")
        if self.seed_losses:
            lines.append(f"read from the mean of {len(self.seed_losses)} seeds")
        if self.cyclical_range is not None:
            lowest, highest = self.cyclical_range
            lines.append(f"for a cyclical schedule: {rate(lowest)} to {rate(highest)}")
        return "\n".join([*lines, *_footnotes(self)])


class Sweep(Result, frozen=True, kw_only=True, eq=False):
    """Trainings at several learning rates, side by side: see `learnrate.sweep`.

    `best` has the best trial's weights, for `problem.restore(result.best)`; None in a result read from JSON.
    `vectorized` says why the rates were trained together in one program; None where one after another. `framework`
    is the problem's: "torch", "keras", "sklearn" or "jax", None where it has none.
    """

    trials: list[Trial]
    metric: str
    mode: Mode
    learning_rate: float | None
    value: float | None
    epochs: float | None
    horizon: int
    untrained: float | None
    verdict: Verdict
    cost: float
    seed: int
    seconds: float
    warnings: list[str] = []
    settings: dict[str, Any] = {}
    vectorized: str | None = None
    framework: str | None = None
    best: Any = None

    def to_json(self) -> str:
        """Return the result as JSON, without the weights; NaN and infinity become null."""
        return msgspec.json.encode(msgspec.structs.replace(self, best=None), enc_hook=_array_to_list).decode()

    def __str__(self) -> str:
        lines = [f"{'learning rate':>13}  {self.metric:>12}  {'epoch':>5}  {'state':<9}  diagnosis"]
        for trial in sorted(self.trials, key=lambda trial: trial.learning_rate):
            best = trial.curve.best(self.metric, self.mode) if self.metric in trial.curve.metrics else None
            value, epoch = ("–", "–") if best is None else (short(best.value, 4), epoch_number(best.epoch))
            diagnosis = "" if trial.diagnosis is None else str(trial.diagnosis.verdict.value)
            if trial.state is TrialState.COMPLETE and trial.epochs < trial.horizon:
                diagnosis += f" (stopped after {epoch_number(trial.epochs)} of {trial.horizon:g} epochs)"
            cells = f"{rate(trial.learning_rate):>13}  {value:>12}  {epoch:>5}  {trial.state.value:<9}  {diagnosis}"
            lines.append(cells.rstrip())
        if self.learning_rate is not None:
            lines.append(f"best: learning rate {rate(self.learning_rate)}, {self.metric} {short(self.value, 4)}")
        return "\n".join([*lines, *_footnotes(self)])


class Decay(msgspec.Struct, frozen=True, kw_only=True):
    """What it brought to take the recommended learning rate to zero, where `select` chooses the schedule.

    `trial` went on from the constant training's epoch `first_epoch` along a line to zero at the end; its curve begins
    with the constant one's. `constant` is what the constant training reached at its best, after `constant_epochs`, of
    the `constant_length` that it went on for. Where the fall `is_better`, it is what is recommended.
    """

    trial: Trial
    first_epoch: float
    constant: float
    constant_epochs: float
    constant_length: float
    is_better: bool


class ScheduleOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one schedule reached at its own best learning rate, where `select` compared several.

    `name` is the schedule's, with the settings that are not its maker's defaults.
    """

    name: str
    schedule: dict[str, Any]
    learning_rate: float | None
    interval: tuple[float, float] | None
    value: float | None
    epochs: float | None
    verdict: Verdict
    cost: float


class Recommendation(Result, frozen=True, kw_only=True, eq=False):
    """The learning rate to use, and how sure that is: see `learnrate.select`.

    Args:
        learning_rate: The peak of the schedule to use; None where there is no answer (the verdict says why).
        interval: Between which learning rates the best one lies, said to be 90 % sure: the nearest on either side that
            were behind some rate on the recommended one's side, at the same length. Where there is none on a side, the
            range's end; None where there is none on either. Replays of the benchmark's design half hold the best rate
            in 95 to 100 %, its judge half in 84 to 90 %.
        confidence: The chance that no learning rate is more than 1 % of the way better than the recommended one.
        breaks: Where training was seen to break; None where it was not.
        epochs: After how many epochs the winner was at its best.
        value: The metric there.
        reference: From which metric shares of the way are counted: `untrained`, or, where nobody can evaluate that, the
            worst that slow trainings began with.
        cost: What finding out cost, in full training runs, the winner's own included.
        slower: What a third and a tenth of the learning rate would cost, as far as something is known of it.
        yours: What the rate that the user had set would cost; None where it is recommended or nothing is known of it.
        schedule: The recommended schedule, as `learnrate.schedules.describe` gives it.
        decay: What taking the rate to zero brought; None where a schedule was given, or the rate could not fall.
        schedules: What each schedule reached, where several were compared; the rest is about the best of them.
        vectorized: Why the probes were trained together in one program; None where one after another.
        framework: The problem's: "torch", "keras", "sklearn" or "jax"; None where it has none.
        best: The winner's weights, for `problem.restore(answer.best)`; None in a result read from JSON.
    """

    learning_rate: float | None
    interval: tuple[float, float] | None
    confidence: float | None
    breaks: Break | None
    epochs: float | None
    horizon: int
    value: float | None
    untrained: float | None
    reference: float | None
    metric: str
    mode: Mode
    cost: float
    budget: float
    verdict: Verdict
    slower: list[Cost]
    yours: Cost | None
    trials: list[Trial]
    schedule: dict[str, Any]
    seed: int
    seconds: float
    decay: Decay | None = None
    warnings: list[str] = []
    settings: dict[str, Any] = {}
    schedules: list[ScheduleOutcome] = []
    vectorized: str | None = None
    framework: str | None = None
    best: Any = None

    @property
    def trainings(self) -> list[Trial]:
        """The trials, and that whose learning rate fell to zero."""
        return self.trials if self.decay is None else [*self.trials, self.decay.trial]

    @property
    def raced_epochs(self) -> float:
        """The epochs that a trial in full was trained for: the horizon, or until the winner's rate fell."""
        return self.horizon if self.decay is None else max(trial.epochs for trial in self.trials)

    @property
    def largest_stable_learning_rate(self) -> float | None:
        """The fastest learning rate that was seen to hold where a faster one broke; None where nothing broke."""
        return None if self.breaks is None else self.breaks.held

    def to_json(self) -> str:
        """Return the result as JSON, without the weights; NaN and infinity become null."""
        return msgspec.json.encode(msgspec.structs.replace(self, best=None), enc_hook=_array_to_list).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote; of an answer of version 0.1.0, what it said beside the rate is left out."""
        told: dict[str, Any] = msgspec.json.decode(text)
        if "slower_costs" in told:
            nothing = dict.fromkeys(("interval", "confidence", "breaks", "yours"))
            told |= {**nothing, "reference": told["untrained"], "slower": []}
        return msgspec.convert(told, type=cls, dec_hook=_list_to_array)

    def code(self, framework: str | None = None) -> str:
        """Return the lines to paste into a training script.

        Args:
            framework: "torch", "keras", "sklearn" or "jax"; by default the problem's own, "torch" where it has none.
        """
        from learnrate._pages.code import lines_for

        return lines_for(self, framework)

    def __str__(self) -> str:
        if self.learning_rate is None:
            return "\n".join(["no learning rate", *_footnotes(self)])
        where, sure = interval_words(self), confidence_words(self)
        fall = f", {fall_words(self.decay)}" if self.decay is not None and self.decay.is_better else ""
        lines = [f"learning rate {rate(self.learning_rate)}{fall}" + (f"    (the best lies {where})" if where else "")]
        epochs = "" if self.epochs is None else f" after {short(self.epochs)} of {self.horizon} epochs"
        lines.append(f"{self.metric} {short(self.value, 3)}{epochs}" + (f"; {sure}" if sure else ""))
        lines += [decay_words(self)] if self.decay is not None else []
        others = [("your ", self.yours), *(("", one) for one in self.slower)]
        costs = [f"{whose}{rate(one.learning_rate)}: {cost_words(one, self.metric)}" for whose, one in others if one]
        lines += [*costs, f"percentages are of {way_words(self)}"] if costs else []
        lines += [] if self.breaks is None else [break_words(self.breaks)]
        lines += _schedule_lines(self)
        lines.append(f"spent {self.cost:.1f} training runs, the winner's own included" + _weights(self.best))
        return "\n".join([*lines, *_footnotes(self)])


def _schedule_lines(answer: Recommendation) -> list[str]:
    """Say what each schedule reached, the best first."""
    sign = 1 if answer.mode == "min" else -1
    ranked = sorted(answer.schedules, key=lambda one: math.inf if one.value is None else sign * one.value)
    told = [
        f"{one.name} no learning rate"
        if one.learning_rate is None
        else f"{one.name} {short(one.value, 3)} at {rate(one.learning_rate)}"
        for one in ranked
    ]
    return [f"schedules: {'; '.join(told)}"] if told else []


class Search(Result, frozen=True, kw_only=True, eq=False):
    """What a search over hyperparameters found: see `learnrate.search`.

    Args:
        hyperparameters: The best ones, for `build(**result.hyperparameters)`; None where there is no answer.
        learning_rate: The rate that the best trial was trained at; None where it has none.
        value: The best trial's metric, over the folds' mean where there are folds.
        standard_error: Of that mean; None without folds.
        epochs: After how many epochs the best trial was at its best.
        trials: All trials, in order, with their curves.
        importance: The share of each hyperparameter in reaching the best tenth of the trials (PED-ANOVA), the largest
            first; empty where fewer than 10 trials ended well.
        order: The stages in which the hyperparameters were tuned; one of all of them without stages.
        cost: In full trainings; each fold's is one.
        framework: That of the problem which the best trial trained: "torch", "keras", "sklearn" or "jax"; None where
            it has none, and with folds.
        best: The best trial's weights, for `restore` of a problem that `build` makes of its hyperparameters; None
            with folds, and in a result read from JSON.
    """

    hyperparameters: dict[str, Any] | None
    learning_rate: float | None
    value: float | None
    standard_error: float | None
    epochs: float | None
    horizon: int
    metric: str
    mode: Mode
    trials: list[Trial]
    importance: dict[str, float]
    order: list[list[str]]
    verdict: Verdict
    cost: float
    budget: float | None
    seed: int
    seconds: float
    warnings: list[str] = []
    settings: dict[str, Any] = {}
    framework: str | None = None
    best: Any = None

    def to_json(self) -> str:
        """Return the result as JSON, without the weights; what JSON cannot hold is written by its name."""
        named: dict[str, Any] = {}
        for trial in self.trials:
            if self.value is not None and trial.value == self.value and trial.state is TrialState.COMPLETE:
                named = {name: trial.hyperparameters[name] for name in self.hyperparameters or ()}
                break
        written = None if self.hyperparameters is None else named
        plain = msgspec.structs.replace(self, best=None, hyperparameters=written)
        return msgspec.json.encode(plain, enc_hook=_array_to_list).decode()

    def code(self, framework: str | None = None) -> str:
        """Return the lines to paste: the best hyperparameters, the learning rate, and how to train with it.

        Args:
            framework: "torch", "keras", "sklearn" or "jax"; by default the problem's own. Where it has none, the
                learning rate is set and no more.
        """
        from learnrate._pages.code import lines_for_values

        return lines_for_values(self, framework)

    def __str__(self) -> str:
        if self.hyperparameters is None:
            return "\n".join(["no answer", *_footnotes(self)])
        names = ", ".join(f"{name} {_setting(value)}" for name, value in self.hyperparameters.items())
        own = "" if "learning_rate" in self.hyperparameters or self.learning_rate is None else rate(self.learning_rate)
        lines = [names + (f"    (at learning rate {own})" if own else "")]
        error = "" if self.standard_error is None else f" ± {short(self.standard_error, 2)}"
        at = "" if self.epochs is None else f" after {short(self.epochs)} of {self.horizon} epochs"
        lines.append(f"{self.metric} {short(self.value, 4)}{error}{at}")
        states = [trial.state.value for trial in self.trials]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        trials = "1 trial" if len(states) == 1 else f"{len(states)} trials"
        lines.append(f"{trials} ({counts}), {self.cost:.1f} training runs")
        if self.importance:
            shares = ", ".join(f"{name} {percent(share)}" for name, share in self.importance.items())
            lines.append(f"measured importance: {shares}")
        if len(self.order) > 1:
            lines.append("tuned in the order: " + "; then ".join(", ".join(stage) for stage in self.order))
        return "\n".join([*lines, *_footnotes(self)])


def _setting(value: Any) -> str:
    return short(value, 3) if isinstance(value, float) else str(value)


def _weights(best: Any) -> str:
    return "" if best is None else "; its weights are in answer.best"


def _footnotes(result: RangeTest | Sweep | Recommendation | Search) -> list[str]:
    found = result.verdict is Verdict.FOUND
    lines = [] if found else [f"{result.verdict.message}; {advice_for(result)}"]
    return lines + [f"note: {warning}" for warning in result.warnings]


def advice_for(result: RangeTest | Sweep | Recommendation | Search) -> str:
    """Return what to try next, by the arguments that the verb has."""
    if not result.verdict.name.startswith("TOO_NARROW"):
        return result.verdict.advice
    left = result.verdict is Verdict.TOO_NARROW_LEFT
    bound = "lower min_learning_rate" if left else "raise max_learning_rate"
    further = f"try {'smaller' if left else 'larger'} ones too"
    return further if isinstance(result, Sweep) else f"{further}: {bound}"


def _array_to_list(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [number if math.isfinite(number) else None for number in value.tolist()]
    if isinstance(value, np.generic):
        return cast("Any", value).item()
    if isinstance(value, Path):
        return str(value)
    msg = f"cannot write a {type(value).__name__} as JSON"
    raise NotImplementedError(msg)


def _list_to_array(target: type, value: Any) -> Any:
    if get_origin(target) is np.ndarray:
        return np.array([np.nan if number is None else number for number in value], dtype=np.float64)
    msg = f"cannot read a {target.__name__} from JSON"
    raise NotImplementedError(msg)
