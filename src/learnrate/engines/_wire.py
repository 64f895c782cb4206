"""How a worker and its driver talk: pickles of a known length, over pipes that only the two of them hold."""

from __future__ import annotations

import pickle
import struct
from typing import IO, Any


def send(stream: IO[bytes], message: Any) -> None:
    """Send a message."""
    body = pickle.dumps(message)
    stream.write(struct.pack(">Q", len(body)) + body)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Wait for a message.

    Raises:
        EOFError: If the other side is gone.
    """
    (length,) = struct.unpack(">Q", _exactly(stream, 8))
    return pickle.loads(_exactly(stream, length))  # noqa: S301  # from the process at the other end of our own pipe


def _exactly(stream: IO[bytes], length: int) -> bytes:
    parts: list[bytes] = []
    while length:
        part = stream.read(length)
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
