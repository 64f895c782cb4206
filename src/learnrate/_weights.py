"""Weights of a search's candidates, in files by name."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from learnrate.study import Study
    from learnrate.training import Snapshot, Trainable


class Weights:
    """Files of weights: in the study's folder where there is one, else in a temporary folder."""

    def __init__(self, study: Study | None) -> None:
        self._study = study
        self._exit = ExitStack()
        self._folder: Path | None = None

    def put(self, name: str, problem: Trainable, snapshot: Snapshot) -> None:
        """Write a snapshot; one of the same name is replaced."""
        if self._study is not None:
            self._study.write_checkpoint(name, lambda path: problem.save(snapshot, path))
            return
        if self._folder is None:
            self._folder = Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix="learnrate-")))
        problem.save(snapshot, self._folder / name)

    def path(self, name: str) -> Path | None:
        """Return the file of a name, None where there is none."""
        if self._study is not None:
            return self._study.checkpoint(name)
        path = None if self._folder is None else self._folder / name
        return path if path is not None and path.exists() else None

    def drop(self, name: str) -> None:
        """Delete the file of a name, where there is one."""
        if self._study is not None:
            self._study.drop_checkpoint(name)
        elif self._folder is not None:
            (self._folder / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Delete all that is not in a study."""
        self._exit.close()
