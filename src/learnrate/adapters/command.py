"""A command as a problem: any script that takes its learning rate as an argument and tells its metrics."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnrate._checks import positive_number
from learnrate.adapters._command_log import LogFile
from learnrate.adapters._command_metrics import Pattern
from learnrate.adapters._command_process import Process, Warden, unbroken
from learnrate.adapters._command_run import Asked, CommandRun
from learnrate.adapters._command_template import Template
from learnrate.adapters.function import FunctionTrainable
from learnrate.errors import InvalidArgumentError, UnsupportedProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from learnrate.adapters._command_metrics import Metrics
    from learnrate.schedules import ScheduleMaker

__all__ = ["CommandTrainable"]

OUTPUTS = "outputs"


class CommandTrainable(FunctionTrainable):
    r"""A command that trains at the learning rate that stands among its arguments, run without a shell.

    Its metrics are read while it trains: from its output, where lines such as `epoch 3 loss=0.5 val_loss=0.6`, the same
    with colons, or JSON objects are understood as they are, from what a pattern finds in each line, or from a log file.
    An epoch is over where the deciding metric stands. There it is paused (SIGSTOP, all its processes), and goes on
    when it is asked for more; `learnrate.adapters.function.HELD` are held at a time, so that nothing is trained twice.
    A script that gives its metrics once, at the end, is begun anew for each training.

    `{epochs}`, `{seed}`, `{trial}` (a number of its own for each start) and `{out}` (a folder of its own for each
    start, in the study's folder where there is one) may stand in the arguments too, in `log` and in `cwd`; braces that
    mean themselves are doubled. A training that is over or will not go on is ended with all that it has started: it is
    sent SIGTERM, and killed 3 seconds later. So it is where learnrate itself is killed.

    Args:
        command: The program and its arguments, `{learning_rate}` among them.
        log: A file that the script writes, of any kind that `learnrate.logs.read` knows; relative to `cwd`.
        pattern: A regular expression that is searched in each line of output, with a named group for each metric, as in
            `loss: (?P<loss>\S+)`; a group `epoch` is the epoch's number.
        timeout: Seconds that an epoch may take; a training that takes longer has failed. None waits for ever.
        cwd: The folder to run the command in; the current one unless told.
        env: Variables to add to the environment. `PYTHONUNBUFFERED` is set, so that Python's output comes at once.

    Raises:
        InvalidArgumentError: An argument cannot be used, or there is no such program.
        UnsupportedProblemError: Processes cannot be paused on this system: commands need Linux or macOS.

    Example:
        >>> import learnrate, sys
        >>> script = "print('val_loss', ({learning_rate} - 0.1) ** 2)"
        >>> problem = learnrate.CommandTrainable([sys.executable, "-c", script])
        >>> learnrate.sweep(problem, [0.01, 0.1], epochs=2).learning_rate
        0.1
    """

    telling_epochs = 2  # one line of metrics after two epochs tells that there is one in the end only
    _seeded = "{seed} among its arguments, or by itself"
    _needs_rate = True

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: str | Path | None = None,
        pattern: str | None = None,
        timeout: float | None = None,
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(self._start)
        if os.name != "posix":
            raise UnsupportedProblemError("commands are paused by signals, which needs Linux or macOS: pass a function")
        self._argv = _templates(command, needs_rate=self._needs_rate)
        self._log = None if log is None else Template(str(log))
        self._cwd = None if cwd is None else Template(str(cwd))
        self._pattern = None if pattern is None else Pattern(pattern)
        self._timeout = None if timeout is None else positive_number("timeout", timeout)
        self._environment = {"PYTHONUNBUFFERED": "1"} | dict(os.environ) | dict(env or {})
        self._known_as = {"log": str(log or ""), "pattern": pattern or "", "cwd": str(cwd or "")}
        self._name = shlex.join(command)
        self.epochs_to_tell = 0
        self._deciding: dict[str, str] = {}
        self._folder: Path | None = None
        self._temporary: Path | None = None
        self._warden: Warden | None = None
        self._started: list[Process] = []
        self.takes_epochs = any("epochs" in part.names for part in self._argv)
        self._require_a_log_of_its_own()
        self._require_program(command[0])

    def prepare(self, *, metric: str, schedule: ScheduleMaker, epochs: int, folder: Path | None) -> None:
        """Learn what a verb asks for, and where the outputs are kept."""
        super().prepare(metric=metric, schedule=schedule, epochs=epochs, folder=folder)
        self._folder = folder
        self._whole = None  # of one epoch there is nothing to tell

    def close(self) -> None:
        """End all commands; drop their outputs where no study keeps them."""
        try:
            super().close()
            for process in self._started:  # one that Ctrl-C has torn from its training
                process.end()
        finally:
            self._started = []
            warden, self._warden = self._warden, None
            if warden is not None:
                warden.close()
            folder, self._temporary, self._folder = self._temporary, None, None
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    def describe(self) -> dict[str, str | int | float]:
        """Return what makes this problem this problem: the command, and where its metrics are."""
        known: dict[str, str | int | float] = {"command": self._name}
        return known | {name: value for name, value in self._known_as.items() if value}

    @property
    def _told_once(self) -> str:
        return (
            f"{self._name} is told its learning rate once: use a constant schedule, and let the script vary its rate "
            f"itself, by an option of its own"
        )

    def _start(self, learning_rate: float, epochs: int, seed: int) -> CommandRun | Metrics:
        """Start the command and wait for its first metrics: what they show decides what is returned."""
        trial, out = self._place()
        values = {"learning_rate": repr(learning_rate), "epochs": str(epochs), "seed": str(seed)}
        values |= {"trial": str(trial), "out": str(out)}
        cwd = None if self._cwd is None else self._cwd.filled(values)
        metric = self._deciding.get(self._metric, self._metric)
        output = out / "output.txt"
        log = None
        if self._log is not None:
            log = LogFile(Path(cwd or ".").absolute() / self._log.filled(values), metric, out)
        if self._warden is None:
            self._warden = Warden()
        argv = [part.filled(values) for part in self._argv]
        with unbroken():
            process = Process(argv, cwd=cwd, env=self._environment, output=output, warden=self._warden)
            self._started = [process, *(each for each in self._started if each.exit_code() is None)]
        asked = Asked(learning_rate, epochs, self.takes_epochs, metric, self._timeout)
        run = CommandRun(process, output, log, self._pattern, asked)
        outcome = run.outcome() if self._whole is not False else None
        self.epochs_to_tell = run.epochs_to_tell
        self._deciding[self._metric] = run.metric
        return run if outcome is None else outcome

    def _place(self) -> tuple[int, Path]:
        """Return a number that no start of the command has had, and make the folder of that number."""
        if self._folder is None and self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="learnrate-"))
        parent = (self._folder or self._temporary or Path()) / OUTPUTS
        parent.mkdir(parents=True, exist_ok=True)
        while True:
            trial = max((int(each.name) for each in parent.iterdir() if each.name.isdecimal()), default=-1) + 1
            out = parent / f"{trial:04d}"
            with contextlib.suppress(FileExistsError):  # another worker has just taken it
                out.mkdir()
                return trial, out.absolute()

    def _require_a_log_of_its_own(self) -> None:
        if self._log is None:
            return
        names = self._log.names | (self._cwd or Template("")).names
        if not names & {"out", "trial"}:
            msg = (
                f"every training would write the same log {self._known_as['log']}: let each have its own, by "
                f"log='{{out}}/log.csv' and the script told to write there, or by cwd='{{out}}'"
            )
            raise InvalidArgumentError(msg)

    def _require_program(self, program: str) -> None:
        if self._cwd is not None and ("/" in program or self._cwd.names):
            return  # it is looked for from there
        if shutil.which(program, path=self._environment.get("PATH")) is None:
            msg = f"there is no program {program!r} that can be run: pass one that is installed, or its path"
            raise InvalidArgumentError(msg)


def _templates(command: Any, *, needs_rate: bool) -> list[Template]:
    if isinstance(command, str | bytes) or not command:
        example = ["python", "train.py", "--lr", "{learning_rate}"]
        raise InvalidArgumentError(f"the command is {command!r}: pass a list of its words, as {example}")
    parts = [Template(part) for part in command]
    if parts[0].names:
        raise InvalidArgumentError(
            f"the program {command[0]!r} has a placeholder in it: placeholders are for arguments"
        )
    if needs_rate and not any("learning_rate" in part.names for part in parts):
        raise InvalidArgumentError(
            f"{shlex.join(command)} has no {{learning_rate}}: put it where the learning rate belongs, as in "
            f"--lr {{learning_rate}}"
        )
    return parts
