"""Snapshots of a verb's trials: two in memory, the others in files, all in the study's folder where there is one."""

from __future__ import annotations

import re
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from learnrate.study import Study
    from learnrate.training import Snapshot, Trainable

IN_MEMORY = 2
"""With the initial state that makes three copies of a model and its optimizer."""

Place = tuple[int, int]


class Shelf:
    """Keeps snapshots by (trial, step).

    Args:
        problem: Saves and loads snapshots; None where all come as files.
        study: Where they are written; None for a temporary folder, and only for those that memory does not take.
        fold: Which of a search's folds they belong to; None where there is but one.
    """

    def __init__(self, problem: Trainable | None, study: Study | None, fold: int | None = None) -> None:
        self.in_memory = IN_MEMORY
        self._problem = problem
        self._study = study
        self._between = "-" if fold is None else f"-fold-{fold}-"
        self._memory: dict[Place, Snapshot] = {}
        self._files: dict[Place, Path] = {}
        self._exit = ExitStack()
        self._folder: Path | None = None
        self._steps: dict[int, set[int]] = {}  # by trial, those that a killed process has left among them
        for name in () if study is None else study.checkpoints():
            found = re.fullmatch(rf"trial-(\d+){self._between}step-(\d+)", name)
            if found is not None:
                self._steps.setdefault(int(found[1]), set()).add(int(found[2]))

    def put(self, trial: int, step: int, snapshot: Callable[[], Snapshot]) -> None:
        """Take a snapshot unless there is one of this place already."""
        if (trial, step) in self._memory:
            return
        while len(self._memory) >= self.in_memory:
            oldest = next(iter(self._memory))
            self._write(oldest)
            del self._memory[oldest]
        self._memory[trial, step] = snapshot()
        self._steps.setdefault(trial, set()).add(step)

    def get(self, trial: int, step: int) -> Snapshot:
        """Return the snapshot of a place, from memory or from its file."""
        place = (trial, step)
        return self._memory[place] if place in self._memory else self._saver.load(self.file(trial, step))

    def has(self, trial: int, step: int) -> bool:
        """Return whether there is a snapshot of a place."""
        place = (trial, step)
        return place in self._memory or self._found(place) is not None

    def file(self, trial: int, step: int) -> Path:
        """Return the file of a place, written now where it is in memory alone."""
        place = (trial, step)
        if place in self._memory:
            self._write(place)
        file = self._found(place)
        if file is None:
            msg = f"no snapshot of trial {trial} at step {step}"
            raise KeyError(msg)
        return file

    def adopt(self, trial: int, step: int, file: Path) -> None:
        """Take a file that a worker has written as the snapshot of a place."""
        place = (trial, step)
        self._memory.pop(place, None)
        self._keep_file(place, lambda path: shutil.move(file, path))

    def forget(self, trial: int, step: int) -> None:
        """Forget a place, unless it is in a file, which may be what a killed training goes on from."""
        if (trial, step) not in self._files:
            self._memory.pop((trial, step), None)

    def drop(self, trial: int, step: int) -> None:
        """Forget a place."""
        place = (trial, step)
        self._memory.pop(place, None)
        self._steps.get(trial, set()).discard(step)
        file = self._files.pop(place, None)
        if self._study is not None:
            self._study.drop_checkpoint(self._name(place))
        elif file is not None:
            file.unlink(missing_ok=True)

    def write(self, trial: int, steps: set[int | None]) -> None:
        """Write a trial's snapshots of these steps to files."""
        for place in self._memory:
            if place[0] == trial and place[1] in steps:
                self._write(place)

    def settle(self, trial: int, steps: set[int | None]) -> None:
        """Keep a trial's snapshots of these steps alone, safely written where there is a study."""
        for step in self._steps.get(trial, set()) - steps:
            self.drop(trial, step)
        if not self._steps.get(trial):
            self._steps.pop(trial, None)
        if self._study is not None:
            self.write(trial, steps)

    def keep_only(self, kept: Place) -> None:
        """Forget all places but one."""
        for trial in list(self._steps):
            self.settle(trial, {kept[1]} if trial == kept[0] else set())

    def close(self) -> None:
        """Forget all that is not in the study."""
        self._memory.clear()
        self._files.clear()
        self._steps.clear()
        self._exit.close()

    @property
    def _saver(self) -> Trainable:
        if self._problem is None:
            msg = "these snapshots are files alone"
            raise TypeError(msg)
        return self._problem

    def _name(self, place: Place) -> str:
        return f"trial-{place[0]}{self._between}step-{place[1]}"

    def _found(self, place: Place) -> Path | None:
        file = self._files.get(place)
        return self._study.checkpoint(self._name(place)) if file is None and self._study is not None else file

    def _write(self, place: Place) -> None:
        if place not in self._files:
            self._keep_file(place, lambda path: self._saver.save(self._memory[place], path))

    def _keep_file(self, place: Place, write: Callable[[Path], object]) -> None:
        if self._study is not None:
            self._study.write_checkpoint(self._name(place), write)
            written = self._study.checkpoint(self._name(place))
        else:
            if self._folder is None:
                self._folder = Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix="learnrate-")))
            written = self._folder / self._name(place)
            write(written)
        if written is not None:
            self._files[place] = written
            self._steps.setdefault(place[0], set()).add(place[1])
