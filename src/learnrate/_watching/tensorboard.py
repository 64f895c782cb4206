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
    each row once. A file is open only while it is written to: a search has more trials than a process may hold files.

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
        self._files: dict[int, Path] = {}
        self._written: dict[int, int] = {}
        self._names: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave: everything is written."""

    def __call__(self, event: Event) -> None:
        """Write what an event adds."""
        trial = event.trial
        if trial is None:
            return
        if not len(trial.curve) and self._written.get(trial.number):  # another schedule's trials are counted from 0
            del self._files[trial.number]
        if trial.number not in self._files:
            self._files[trial.number] = self._new_file(trial)
        path = self._files[trial.number]
        begins = not path.exists()  # or somebody has tidied up
        if begins:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._written[trial.number] = 0
        with path.open("ab") as file:
            run = self._records(file)
            if begins:
                self._begin(run, trial)
            self._add(run, trial)

    def _add(self, run: Any, trial: Trial) -> None:
        """Write the rows that are new, and the end where this is one."""
        for row in range(self._written[trial.number], len(trial.curve)):
            step = math.ceil(float(trial.curve.epochs[row]))
            for name, values in trial.curve.metrics.items():
                self._put(run, self._summary.Value(tag=name, simple_value=float(values[row])), step)
        self._written[trial.number] = len(trial.curve)
        if trial.state is not TrialState.RUNNING:
            self._end(run, trial)

    def _new_file(self, trial: Trial) -> Path:
        """Return the file for a trial's run, in a folder without any other of ours."""
        name = f"trial-{trial.number:03d}-lr-{rate(trial.learning_rate)}"
        self._names[name] = self._names.get(name, 0) + 1
        folder = self._folder / (name if self._names[name] == 1 else f"{name}-{self._names[name]}")
        for old in folder.glob(_OURS.format("*")):
            old.unlink()
        return folder / _OURS.format(time.time_ns())

    def _begin(self, run: Any, trial: Trial) -> None:
        self._write(run, self._event(wall_time=time.time(), file_version="brain.Event:2"))
        group = self._files[trial.number].parent.name
        info = self._session.SessionStartInfo(group_name=group, start_time_secs=time.time())
        for name, value in trial.hyperparameters.items():
            if isinstance(value, bool):
                info.hparams[name].bool_value = value
            elif isinstance(value, int | float):
                info.hparams[name].number_value = value
            else:
                info.hparams[name].string_value = str(value)
        held = self._session.HParamsPluginData(session_start_info=info)
        self._put_hyperparameters(run, self._metadata.SESSION_START_INFO_TAG, held)

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
