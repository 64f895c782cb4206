"""Modules that other processes cannot import by their name: what stands in them goes over whole."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType


@contextlib.contextmanager
def carried_whole(module: ModuleType) -> Generator[None]:
    """Let what stands in a module be carried to other processes whole, for as long as the block lasts."""
    import cloudpickle  # pyright: ignore[reportMissingTypeStubs]  # it has none

    pickles: Any = cloudpickle
    pickles.register_pickle_by_value(module)
    try:
        yield
    finally:
        pickles.unregister_pickle_by_value(module)
