"""What `learnrate diagnose FILES…` answers: each log's diagnosis and, of several, the learning rate to use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from learnrate import logs
from learnrate._compare import compare
from learnrate._diagnose import diagnose, metric_of
from learnrate._logs.metric_names import mode_of
from learnrate.errors import InvalidArgumentError
from learnrate.results import Finding, Outlook  # noqa: TC001  # msgspec reads the types when it encodes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import altair as alt

    from learnrate.curves import Mode
    from learnrate.logs import Log
    from learnrate.results import Diagnosis, Sweep


class CurveRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A log's line in the JSON: where it is, and its diagnosis."""

    path: str
    learning_rate: float | None
    metric: str
    epochs: float
    verdict: str
    best_epoch: float | None
    best_value: float | None
    overfitting_onset: float | None
    generalization_gap: float | None
    validation_noise: float | None
    expected_noise: float | None
    evidence: str
    advice: str
    findings: list[Finding]
    outlook: Outlook | None


class RecommendationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The learning rate to use given the logs, None where the verdict says why there is none."""

    learning_rate: float | None
    metric: str
    value: float | None
    epochs: float | None
    verdict: str
    message: str
    notes: list[str]


@dataclass(frozen=True)
class Answer:
    """What the logs say: each curve's diagnosis, and the comparison, None where a log has no learning rate."""

    found: list[Log]
    records: list[CurveRecord]
    comparison: Sweep | None

    @property
    def has_answer(self) -> bool:
        """Whether the question is answered: which rate to use given several, else what each log shows."""
        return len(self.found) == 1 or self.comparison is None or self.comparison.learning_rate is not None

    def __str__(self) -> str:
        lines = [f"{one.path}: {one.verdict}: {one.evidence}" for one in self.records]
        if len(lines) == 1:
            return f"{lines[0]} {self.records[0].advice}"
        if self.comparison is not None:
            return "\n".join([*lines, "", str(self.comparison)])
        return "\n".join([*lines, "", f"no recommendation: {self.what_is_missing}"])

    @property
    def what_is_missing(self) -> str:
        """What keeps the logs from being compared, and what to do about it."""
        nameless = ", ".join(one.path for one in self.records if one.learning_rate is None)
        return f"no learning rate is known for {nameless}: give each file's by --learning-rate, in the files' order"

    def to_json(self) -> str:
        """Return the answer as JSON: "curves", and "recommendation", null where the logs cannot be compared."""
        record = {"curves": self.records, "recommendation": _recommendation(self.comparison)}
        return msgspec.json.encode(record).decode()

    def chart(self) -> alt.TopLevelMixin:
        """Draw the metric against the learning rate, and the curves; or the one curve.

        Raises:
            InvalidArgumentError: If there are several logs that cannot be compared.
        """
        from learnrate import charts

        if self.comparison is not None and len(self.found) > 1:
            return charts.sweep(self.comparison)
        if len(self.found) == 1:
            return charts.curve(self.found[0].curve)
        raise InvalidArgumentError(f"nothing to draw against: {self.what_is_missing}")

    def report(self, path: Path) -> Path:
        """Write the comparison as one HTML file.

        Raises:
            InvalidArgumentError: If there is none.
        """
        if self.comparison is None:
            raise InvalidArgumentError(f"no report: {self.what_is_missing}")
        return self.comparison.report(path)


def answer(
    files: Sequence[Path],
    *,
    metric: str | None = None,
    mode: Mode | None = None,
    learning_rates: Sequence[float] = (),
    num_validation_samples: int | None = None,
) -> Answer:
    """Read logs, diagnose each, and compare them where each has a learning rate.

    Args:
        files: Logs, as `learnrate.logs.read` takes them.
        metric: The metric that decides; by default as in `learnrate.diagnose` and `learnrate.compare`.
        mode: Whether smaller or larger is better; by default what the metric's name says.
        learning_rates: One for each file, instead of those in the logs; empty for those in the logs.
        num_validation_samples: As in `learnrate.diagnose`.

    Raises:
        InvalidArgumentError: If there are not as many learning rates as files.
        UnknownMetricError: If a log lacks the metric.
        LogError: If a file is no log or is damaged; the message names the file and the line.
    """
    if learning_rates and len(learning_rates) != len(files):
        raise InvalidArgumentError(
            f"there are {len(learning_rates)} learning rates for {len(files)} files: give one for each, in their order"
        )
    rates = list(learning_rates) or [None] * len(files)
    found = [log for file, each in zip(files, rates, strict=True) for log in logs.read(file, learning_rate=each)]
    settings = {"num_validation_samples": num_validation_samples}
    if any(log.learning_rate is None for log in found):
        said = [diagnose(log.curve, metric=metric, mode=mode, **settings) for log in found]
        return Answer(found, [_record(log, each, metric, mode) for log, each in zip(found, said, strict=True)], None)
    found.sort(key=lambda log: log.learning_rate or 0.0)
    both = compare(found, metric=metric, mode=mode, **settings)
    diagnosed = zip(found, both.trials, strict=True)
    records = [_record(log, trial.diagnosis, both.metric, both.mode) for log, trial in diagnosed if trial.diagnosis]
    return Answer(found, records, both)


def _record(log: Log, said: Diagnosis, metric: str | None, mode: Mode | None) -> CurveRecord:
    name = metric_of(log.curve, metric)
    best = log.curve.best(name, mode or mode_of(name))
    return CurveRecord(
        path=log.path,
        learning_rate=log.learning_rate,
        metric=name,
        epochs=float(log.curve.epochs[-1]),
        verdict=said.verdict.value,
        best_epoch=said.best_epoch,
        best_value=None if best is None else best.value,
        overfitting_onset=said.overfitting_onset,
        generalization_gap=said.generalization_gap,
        validation_noise=said.validation_noise,
        expected_noise=said.expected_noise,
        evidence=said.evidence,
        advice=said.advice,
        findings=said.findings,
        outlook=said.outlook,
    )


def _recommendation(comparison: Sweep | None) -> RecommendationRecord | None:
    if comparison is None:
        return None
    return RecommendationRecord(
        learning_rate=comparison.learning_rate,
        metric=comparison.metric,
        value=comparison.value,
        epochs=comparison.epochs,
        verdict=comparison.verdict.value,
        message=comparison.verdict.message,
        notes=comparison.warnings,
    )
