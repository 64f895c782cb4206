"""Scalars and hyperparameters for TensorBoard, written as a study goes, without TensorFlow or PyTorch."""

from __future__ import annotations

import importlib
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from learnrate._numbers import rate
from learnrate.errors import MissingExtraError
from learnrate.results import TrialState

if TYPE_CHECKING:
    from types import TracebackType

    from learnrate.results import Trial
    from learnrate.training import Event

_OURS = "events.out.tfevents.{}.learnrate"
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


def _load(name: str) -> Any:
    return importlib.import_module(f"tensorboard.{name}")


class TensorBoard:
    """Takes every event and writes a run for each trial: its metrics by epoch, and its hyperparameters.

    A run is a folder named after the trial, such as `trial-003-lr-1e-3`. The steps are epochs; a row inside an epoch
    stands at that epoch. What an earlier process wrote of a trial is replaced as a whole, so that a resumed study has
    each row once.

    Args:
        folder: Where TensorBoard looks: `tensorboard --logdir folder`.

    Raises:
        MissingExtraError: If tensorboard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            self._event: Any = _load("compat.proto.event_pb2").Event
            self._summary: Any = _load("compat.proto.summary_pb2").Summary
            self._session: Any = _load("plugins.hparams.plugin_data_pb2")
            self._codes: Any = _load("plugins.hparams.api_pb2")
            self._metadata: Any = _load("plugins.hparams.metadata")
            self._records: Any = _load("summary.writer.record_writer").RecordWriter
        except ImportError as error:
            raise MissingExtraError(
                "writing for TensorBoard needs tensorboard; run: pip install 'learnrate[tensorboard]'"
            ) from error
        self._folder = Path(folder)
        self._runs: dict[int, Any] = {}
        self._written: dict[int, int] = {}
        self._names: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for run in self._runs.values():
            run.close()
        self._runs.clear()

    def __call__(self, event: Event) -> None:
        """Write what an event adds."""
        trial = event.trial
        if trial is None:
            return
        if not len(trial.curve) and self._written.get(trial.number):  # another schedule's trials are counted from 0
            self._runs.pop(trial.number).close()
        run = self._runs.get(trial.number) or self._begin(trial)
        first = self._written[trial.number]
        for row in range(first, len(trial.curve)):
            step = math.ceil(float(trial.curve.epochs[row]))
            for name, values in trial.curve.metrics.items():
                self._put(run, self._summary.Value(tag=name, simple_value=float(values[row])), step)
        self._written[trial.number] = len(trial.curve)
        if trial.state is not TrialState.RUNNING:
            self._end(run, trial)
        run.flush()

    def _begin(self, trial: Trial) -> Any:
        name = f"trial-{trial.number:03d}-lr-{rate(trial.learning_rate)}"
        self._names[name] = self._names.get(name, 0) + 1
        folder = self._folder / (name if self._names[name] == 1 else f"{name}-{self._names[name]}")
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(_OURS.format("*")):
            old.unlink()
        run = self._records((folder / _OURS.format(time.time_ns())).open("wb"))
        self._write(run, self._event(wall_time=time.time(), file_version="brain.Event:2"))
        info = self._session.SessionStartInfo(group_name=folder.name, start_time_secs=time.time())
        for name, value in trial.hyperparameters.items():
            if isinstance(value, bool):
                info.hparams[name].bool_value = value
            elif isinstance(value, int | float):
                info.hparams[name].number_value = value
            else:
                info.hparams[name].string_value = str(value)
        held = self._session.HParamsPluginData(session_start_info=info)
        self._put_hyperparameters(run, self._metadata.SESSION_START_INFO_TAG, held)
        self._runs[trial.number], self._written[trial.number] = run, 0
        return run

    def _end(self, run: Any, trial: Trial) -> None:
        status = self._codes.STATUS_SUCCESS if trial.state in _ENDED else self._codes.STATUS_FAILURE
        info = self._session.SessionEndInfo(status=status, end_time_secs=time.time())
        held = self._session.HParamsPluginData(session_end_info=info)
        self._put_hyperparameters(run, self._metadata.SESSION_END_INFO_TAG, held)

    def _put_hyperparameters(self, run: Any, tag: str, held: Any) -> None:
        value = self._summary.Value(
            tag=tag, metadata=self._metadata.create_summary_metadata(held), tensor=self._metadata.NULL_TENSOR
        )
        self._put(run, value, 0)

    def _put(self, run: Any, value: Any, step: int) -> None:
        self._write(run, self._event(wall_time=time.time(), step=step, summary=self._summary(value=[value])))

    @staticmethod
    def _write(run: Any, event: Any) -> None:
        run.write(event.SerializeToString())
