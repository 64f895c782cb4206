"""Every generator of random numbers that a PyTorch training may draw from: found, kept, put back and seeded."""

# torch's stubs are partial, and batches and states are of any kind:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import ctypes
import functools
import random
from random import SystemRandom
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from learnrate.adapters._torch_state import Tree, encoded
from learnrate.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence


class Randomness:
    """Every generator of random numbers that a training may draw from.

    Those of Python, numpy and torch (CPU, and CUDA, MPS or XPU where they are in use), those found in the attributes
    of `places` (data sets, samplers, collate functions, modules), and those that are given.

    Args:
        device: Where the model is.
        generators: `torch.Generator`, `numpy.random.Generator` or `RandomState`, or `random.Random` objects.
        places: Objects to look through for more of them.
    """

    def __init__(self, device: torch.device, generators: Sequence[Any], places: Sequence[Any]) -> None:
        for generator in generators:
            if not isinstance(generator, _GENERATORS):
                raise InvalidArgumentError(
                    f"generators holds a {type(generator).__name__}; give torch.Generator, numpy.random.Generator, "
                    f"numpy.random.RandomState or random.Random objects."
                )
        self._device = device.type
        self._own = list({id(it): it for it in (*generators, *_generators_in(places))}.values())

    def states(self) -> Tree:
        """Return the states of all of them."""
        states: dict[str, Any] = {
            "python": random.getstate(),
            "numpy": np.random.get_state(legacy=False),  # noqa: NPY002  # the global one is what is kept
            "torch": torch.get_rng_state(),
            "own": [_state_of(generator) for generator in self._own],
        }
        if torch.cuda.is_initialized():
            states["cuda"] = torch.cuda.get_rng_state_all()
        if self._device in ("mps", "xpu"):
            states[self._device] = getattr(torch, self._device).get_rng_state()
        return states

    def set(self, states: Tree) -> None:
        """Put the states back."""
        random.setstate(states["python"])
        np.random.set_state(states["numpy"])  # noqa: NPY002  # the global one is what is kept
        torch.set_rng_state(states["torch"])
        for generator, state in zip(self._own, states["own"], strict=True):
            _set_state(generator, state)
        if "cuda" in states and torch.cuda.is_initialized():
            torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])
        if self._device in ("mps", "xpu") and self._device in states:
            getattr(torch, self._device).set_rng_state(states[self._device])

    @contextlib.contextmanager
    def preserved(self) -> Generator[None]:
        """Put the states back at the end, whatever happened."""
        states = self.states()
        try:
            yield
        finally:
            self.set(states)

    def fingerprint(self) -> Tree:
        """Return what changes whenever a generator in main memory draws; far cheaper than the states."""
        bits = cast("Any", np.random).get_bit_generator()  # numpy's stubs forget it
        mersenne = isinstance(bits, np.random.MT19937)
        # Its state as a dict is made number by number, in 100 microseconds; its memory is read in one.
        seen = ctypes.string_at(bits.ctypes.state_address, 2500) if mersenne else bits.state
        own = [
            encoded(_state_of(generator), {}) for generator in self._own if not isinstance(generator, torch.Generator)
        ]
        torches = [_bytes(it.get_state()) for it in self._own if isinstance(it, torch.Generator)]
        return random.getstate(), seen, _bytes(torch.get_rng_state()), own, torches

    def seed(self, seed: int) -> None:
        """Seed all of them; equal seeds, equal numbers."""
        python, numpy, main, *rest = np.random.SeedSequence(seed).generate_state(3 + len(self._own)).tolist()
        random.seed(python)
        np.random.seed(numpy)  # noqa: NPY002  # the global one is what users draw from
        torch.default_generator.manual_seed(main)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(main)
        if self._device in ("mps", "xpu"):
            getattr(torch, self._device).manual_seed(main)
        for generator, number in zip(self._own, rest, strict=True):
            _seed(generator, number)


_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


def _state_of(generator: Any) -> Tree:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    return generator.bit_generator.state


def _set_state(generator: Any, state: Tree) -> None:
    if isinstance(generator, torch.Generator):
        generator.set_state(state.cpu())
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    else:
        generator.bit_generator.state = state


def _seed(generator: Any, seed: int) -> None:
    if isinstance(generator, torch.Generator):
        generator.manual_seed(seed)
    elif isinstance(generator, random.Random | np.random.RandomState):
        generator.seed(seed)
    else:
        generator.bit_generator.state = type(generator.bit_generator)(seed).state


def _bytes(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()


def _generators_in(places: Sequence[Any], depth: int = 8, most: int = 20_000) -> list[Any]:
    """Look for generators in attributes, in short lists and dicts of them, and in what functions close over."""
    found: list[Any] = []
    seen: set[int] = set()
    level = list(places)
    for _ in range(depth):
        below: list[Any] = []
        for thing in level:
            if id(thing) in seen or len(seen) > most or isinstance(thing, _LEAVES):
                continue
            seen.add(id(thing))
            if isinstance(thing, _GENERATORS):
                found.append(thing)
            else:
                below.extend(_parts(thing))
        level = below
    return found


_LEAVES = (Tensor, np.ndarray, str, bytes, int, float, type, ModuleType, SystemRandom, type(None))


def _parts(thing: Any) -> list[Any]:
    if isinstance(thing, dict | list | tuple | set):
        values = cast("dict[Any, Any] | Sequence[Any]", thing)
        return list(values.values() if isinstance(values, dict) else values) if len(values) <= 64 else []
    if isinstance(thing, functools.partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, FunctionType):
        with contextlib.suppress(ValueError):  # a cell that is still empty
            return [cell.cell_contents for cell in thing.__closure__ or ()]
    return [getattr(thing, "__self__", None), *getattr(thing, "__dict__", {}).values()]
