"""The report while a study runs: rewritten as it goes, and the open page reloads itself until it is done."""

from __future__ import annotations

import math
import shlex
import threading
import time
import uuid
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from learnrate import _report
from learnrate._drawings import standalone
from learnrate._watching.lines import is_point
from learnrate._watching.tally import AtWork, Tally
from learnrate.results import Search, Sweep, Trial, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from learnrate.curves import Mode
    from learnrate.study import Study
    from learnrate.training import Event

EVERY = 3.0
"""Seconds between two pages at least: a person who looks on sees it move, and the training hardly notices."""
BEAT = 10.0
"""Seconds after which the page says again that it is alive, also where nothing has happened."""
_PAUSES = 20.0
"""How many times as long as writing a page took it rests: pages take one part in twenty of the time."""


class LiveReport:
    """Takes every event, and rewrites the report now and then, in a thread of its own.

    Each page is written under another name and renamed, so that a reader never sees a part. It says when it was
    written: where that is long ago, the page itself says that the study was interrupted and how to go on.

    Args:
        path: Where to write.
        verb: What is at work, such as "select".
        metric: The deciding metric.
        mode: Whether it is better when small ("min") or large ("max").
        epochs: The epochs of a full training run, where the verb has such.
        resume: How to go on after an interruption, as `learnrate resume study`; None where nothing is kept.

    Raises:
        InvalidArgumentError: If nothing can be written there.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        verb: str = "training",
        metric: str = "val_loss",
        mode: Mode = "min",
        epochs: int | None = None,
        resume: str | None = None,
    ) -> None:
        self._path = Path(path)
        standalone.check_target(self._path)
        self._verb, self._epochs = verb, epochs
        self._resume = resume
        self._tally = Tally(metric, mode)
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="learnrate report", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()
        self._try_to_write(_Sheet(self._path), "ended" if error is None else "interrupted")

    def __call__(self, event: Event) -> None:
        """Take an event."""
        with self._lock:
            self._tally(event)
        self._news.set()

    def _work(self) -> None:
        sheet, pause = _Sheet(self._path), EVERY / 3
        while not self._ending.wait(pause):
            began = time.monotonic()
            if self._news.is_set():
                self._news.clear()
                self._try_to_write(sheet, "running")
            else:
                sheet.beat()
            pause = min(max(EVERY, _PAUSES * (time.monotonic() - began)), 2 * BEAT)

    def _try_to_write(self, sheet: _Sheet, state: str) -> None:
        with self._lock:
            tally = self._tally
            shown = so_far(tally.all_trials, tally.metric, tally.mode, self._epochs, tally.seconds)
            at_work = AtWork(
                self._verb,
                state,
                tally.stage,
                tally.spent,
                tally.budget,
                tally.seconds,
                tally.seconds_left,
                self._resume,
                tally.plan,
            )
        try:
            sheet.write(shown, at_work)
        except OSError as error:
            # the training is worth more than its report
            warnings.warn(f"the report could not be rewritten: {error}", stacklevel=2)


class _Sheet:
    """A page on disk that can say again that it is alive."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark = uuid.uuid4().hex
        self._text = ""
        self._beaten = 0.0

    def write(self, shown: Sweep | Search, at_work: AtWork) -> None:
        self._text = _report.render(shown, at_work=at_work, mark=self._mark)
        self._beaten = -BEAT
        self.beat()

    def beat(self) -> None:
        """Write the page again with the time that it is, where the last time is a while ago."""
        if self._text and time.monotonic() - self._beaten > BEAT:
            self._beaten = time.monotonic()
            standalone.write_whole(self._path, self._text.replace(self._mark, str(round(1000 * time.time()))))


def resume_command(study: str | Path) -> str:
    """Return the command that goes on with a study."""
    return f"learnrate resume {shlex.quote(str(study))}"


def so_far(trials: list[Trial], metric: str, mode: Mode, epochs: int | None, seconds: float) -> Sweep | Search:
    """Return trials in the middle of the work as a sweep or a search, whose best is the best so far."""
    from learnrate._sweep import best_trial

    known = sorted((trial for trial in trials if trial.number >= 0), key=lambda trial: trial.number)
    best = best_trial(known, mode)
    epoch = None if best is None else best.curve.best(metric, mode) if metric in best.curve.metrics else None
    rate = None if best is None or math.isnan(best.learning_rate) else best.learning_rate
    both: dict[str, Any] = {
        "trials": known,
        "metric": metric,
        "mode": mode,
        "learning_rate": rate,
        "value": None if best is None else best.value,
        "epochs": None if epoch is None else epoch.epoch,
        "horizon": epochs or max((round(trial.horizon) for trial in known), default=1) or 1,
        "verdict": Verdict.FOUND,
        "cost": 0.0,
        "seed": known[0].seed if known else 0,
        "seconds": seconds,
    }
    if any(is_point(trial) for trial in known):
        values = None if best is None else dict(best.hyperparameters)
        error = None if best is None else best.standard_error
        return Search(**both, hyperparameters=values, standard_error=error, importance={}, order=[], budget=None)
    return Sweep(**both, untrained=None)


def write_standing(study: Study, path: Path, *, state: str | None = None) -> bool:
    """Write a study's report as it stands: its result where it is finished. Return whether it is."""
    from learnrate._watching.standing import result_of, standing_of

    result = result_of(study)
    if result is not None:
        _report.report(result, path)
        return True
    settings: dict[str, Any] = study.settings
    standing = standing_of(study)
    metric = settings.get("metric", "loss")
    trials = study.trials()
    if metric == "val_loss" and not any(metric in trial.curve.metrics for trial in trials):
        metric = "loss"
    seconds = sum(trial.seconds for trial in trials)
    told = state or ("interrupted" if standing.at_work is None else "running")
    shown = so_far(trials, metric, settings.get("mode", "min"), settings.get("epochs"), seconds)
    resume = resume_command(study.folder)
    _Sheet(path).write(shown, AtWork(study.verb, told, "", standing.spent, standing.budget, seconds, None, resume))
    return False


def write_study(study: str | Path, path: Path) -> bool:
    """Write the report of the study in a folder as it stands; return whether it is finished."""
    from learnrate.study import Study

    with Study.read(study) as kept:
        return write_standing(kept, path)


def follow(study: str | Path, path: Path, *, ended: Callable[[], bool], every: float = EVERY) -> None:
    """Rewrite the report of a study until it is finished, or until nobody works on it and `ended` says so."""
    from learnrate._study_file import DATABASE
    from learnrate.study import Study

    while True:
        over = ended()  # asked first: the result may come between the two
        if (Path(study) / DATABASE).exists():
            with Study.read(study) as kept:
                worked_on = kept.holder() is not None
                if write_standing(kept, path):
                    return
        else:
            worked_on = False
        if over and not worked_on:
            return
        time.sleep(every)


def follow_beside(study: str | Path, path: Path) -> None:
    """Follow a study in a thread of its own, until it is finished or this program has nothing else to do."""
    main = threading.main_thread()
    threading.Thread(
        target=follow, args=(study, path), kwargs={"ended": lambda: not main.is_alive()}, name="learnrate report"
    ).start()
