"""A command's processes: begun without a shell, paused, gone on with, and ended together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from learnrate.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from types import FrameType

GRACE = 3.0
"""Seconds that a command has for its own cleaning up when it is told to end."""


@contextlib.contextmanager
def unbroken() -> Generator[None]:
    """Put Ctrl-C off to the end of the block: a process that is just being started would be lost."""
    before = signal.getsignal(signal.SIGINT)
    if before is None or threading.current_thread() is not threading.main_thread():
        yield  # Ctrl-C goes elsewhere
        return
    pressed: list[FrameType | None] = []
    signal.signal(signal.SIGINT, lambda _, frame: pressed.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed and callable(before):
            before(signal.SIGINT, pressed[0])


class Warden:
    """Looks after the commands from outside, so that they end even where learnrate is killed."""

    def __init__(self) -> None:
        program = Path(__file__).with_name("_command_warden.py")
        # -I -S: it starts in milliseconds, and nothing of the user's environment reaches it
        self._program = subprocess.Popen(  # noqa: S603  # our own file, by the running Python
            [sys.executable, "-I", "-S", str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is for learnrate
        )

    def tell(self, group: int) -> None:
        """Name a process group that has begun, or its negative when it has ended."""
        stream = self._program.stdin
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                print(group, file=stream, flush=True)

    def close(self) -> None:
        """Let it end."""
        if self._program.stdin is not None:
            self._program.stdin.close()
        self._program.wait()


class Process:
    """A running command: a process group in a session of its own, whose output goes into a file.

    Args:
        argv: The program and its arguments.
        cwd: The folder to run it in; None for the current one.
        env: Its environment.
        output: Where its standard output and error go, both into one file.
        warden: Told of it.

    Raises:
        InvalidArgumentError: The program cannot be started.
    """

    def __init__(
        self, argv: Sequence[str], *, cwd: str | None, env: Mapping[str, str], output: Path, warden: Warden
    ) -> None:
        self._warden = warden
        with output.open("wb") as stream:
            try:
                self._popen = subprocess.Popen(  # noqa: S603  # the user's own command, and no shell reads it
                    argv,
                    cwd=cwd,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                where = "" if cwd is None else f" in {cwd}"
                msg = f"{argv[0]} cannot be started{where} ({error.strerror}): pass a program, and its arguments apart"
                raise InvalidArgumentError(msg) from error
        warden.tell(self._popen.pid)

    def exit_code(self) -> int | None:
        """Return the exit code once the command is over, None before; what it has left running is ended then."""
        known = self._popen.returncode
        code = self._popen.poll()
        if known is None and code is not None:
            self._signal(signal.SIGKILL)
            self._warden.tell(-self._popen.pid)
        return code

    def pause(self) -> None:
        """Stop all its processes where they are."""
        if self.exit_code() is None:
            self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let them go on."""
        if self.exit_code() is None:
            self._signal(signal.SIGCONT)

    def end(self) -> None:
        """End all its processes: they are asked to, and killed after a grace."""
        if self.exit_code() is not None:
            return
        try:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # a paused process hears nothing else
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(GRACE)
        finally:
            self._signal(signal.SIGKILL)
            self._popen.wait()
            self._warden.tell(-self._popen.pid)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says the latter of zombies
            os.killpg(self._popen.pid, number)
