"""Ends the commands of a learnrate that is gone, whatever ended it: a program of its own, which imports nothing of it.

Reads process groups from standard input, a number a line: one to look after, or its negative when it has ended. The
input ends when learnrate does, also where it was killed and could not clean up; then every group that is left is
killed, the stopped ones too.
"""

import contextlib
import os
import signal
import sys

if __name__ == "__main__":
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line)
        if group > 0:
            groups.add(group)
        else:
            groups.discard(-group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
