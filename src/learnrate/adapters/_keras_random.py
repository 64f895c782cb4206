"""The random generators that a Keras training draws from: it has states of its own, and the user's are never moved."""

# keras and torch have partial stubs or none, and states are of any kind:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false

from __future__ import annotations

import contextlib
import random
import sys
from typing import TYPE_CHECKING, Any, Protocol, cast

import keras
import numpy as np
import numpy.typing as npt
from keras.src.backend.common import global_state  # there is no public way to put another generator there

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

Array = npt.NDArray[Any]
State = dict[str, Any]
"""A generator's state, as numbers and arrays by name."""

_KERAS_GLOBAL = "global_seed_generator"


def derived(*numbers: int) -> int:
    """Return a seed of 31 bits, which every backend takes, that follows from these numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0] >> np.uint32(1))


class Generators:
    """Python's, numpy's, PyTorch's and Keras's global generators, and others that are named, as one training's own.

    Inside `own()` the global generators have the training's states; outside, those that they had before.

    Args:
        others: numpy, PyTorch or Python generators beside the global ones; anything else is passed over.
    """

    def __init__(self, others: Iterable[Any] = ()) -> None:
        self._places: list[_Place] = [_Python(random), _Numpy(None)]
        if "torch" in sys.modules:
            self._places.append(_Torch(None))
        self._places += [place for place in map(_place_of, others) if place is not None]
        self._states = [place.get() for place in self._places]
        self._inside = False
        found = global_state.get_global_attribute(_KERAS_GLOBAL)
        self._keras = keras.random.SeedGenerator(0)
        if found is not None:
            self._keras.state.assign(found.state)

    @contextlib.contextmanager
    def own(self) -> Generator[None]:
        """Let the training draw from its own states, and the user find his as they were."""
        users = [place.get() for place in self._places]
        users_keras = global_state.get_global_attribute(_KERAS_GLOBAL)
        self._put(self._states)
        global_state.set_global_attribute(_KERAS_GLOBAL, self._keras)
        self._inside = True
        try:
            yield
        finally:
            self._inside = False
            self._states = [place.get() for place in self._places]
            self._put(users)
            global_state.set_global_attribute(_KERAS_GLOBAL, users_keras)

    def seed(self, *numbers: int) -> None:
        """Derive every state from these numbers, inside `own()` or outside."""
        with contextlib.nullcontext() if self._inside else self.own():
            for at, place in enumerate(self._places):
                place.seed(derived(*numbers, at))
        self._keras.state.assign(np.array([derived(*numbers, len(self._places)), 0]))

    def states(self) -> dict[str, Array]:
        """Return the training's states as arrays."""
        arrays = {f"{at}.{name}": np.asarray(it) for at, state in enumerate(self._states) for name, it in state.items()}
        return arrays | {"keras": np.array(keras.ops.convert_to_numpy(self._keras.state))}

    def set(self, arrays: dict[str, Array]) -> None:
        """Set the training's states; a generator that the arrays do not know keeps its own."""
        for at in range(len(self._states)):
            prefix = f"{at}."
            known = {name.removeprefix(prefix): it for name, it in arrays.items() if name.startswith(prefix)}
            if known:
                self._states[at] = known
        self._keras.state.assign(arrays["keras"])

    def _put(self, states: list[Any]) -> None:
        for place, state in zip(self._places, states, strict=True):
            place.set(state)


class _Place(Protocol):
    def get(self) -> State: ...
    def set(self, state: State) -> None: ...
    def seed(self, seed: int) -> None: ...


class _Python:
    def __init__(self, generator: Any) -> None:
        self._generator = generator  # the module has the same methods as its generators

    def get(self) -> State:
        version, words, gauss = self._generator.getstate()
        return {"version": version, "words": np.array(words, np.uint32), "gauss": np.nan if gauss is None else gauss}

    def set(self, state: State) -> None:
        gauss = float(state["gauss"])
        words = tuple(state["words"].tolist())
        self._generator.setstate((int(state["version"]), words, None if np.isnan(gauss) else gauss))

    def seed(self, seed: int) -> None:
        self._generator.seed(seed)


class _Numpy:
    """The global generator of numpy, or a RandomState; both are the Mersenne twister unless somebody exchanged it."""

    def __init__(self, generator: np.random.RandomState | None) -> None:
        self._generator: Any = np.random if generator is None else generator

    def get(self) -> State:
        state = self._generator.get_state(legacy=False)
        return {"key": state["state"]["key"], "pos": state["state"]["pos"]} | {
            "has_gauss": state["has_gauss"],
            "gauss": state["gauss"],
        }

    def set(self, state: State) -> None:
        gauss = int(state["has_gauss"]), float(state["gauss"])
        self._generator.set_state(("MT19937", state["key"], int(state["pos"]), *gauss))

    def seed(self, seed: int) -> None:
        self._generator.seed(seed)


class _NumpyGenerator:
    """A `numpy.random.Generator`; its state is a dict of integers, some too long for an array, kept as text."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._bits = cast("Any", generator.bit_generator)

    def get(self) -> State:
        return {"text": np.frombuffer(repr(_plain(self._bits.state)).encode(), np.uint8)}

    def set(self, state: State) -> None:
        import ast

        self._bits.state = ast.literal_eval(bytes(state["text"]).decode())

    def seed(self, seed: int) -> None:
        self._bits.state = type(self._bits)(seed).state


def _plain(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in cast("dict[str, Any]", state).items()}
    return state.tolist() if isinstance(state, np.ndarray | np.generic) else state


class _Torch:
    def __init__(self, generator: Any) -> None:
        torch: Any = sys.modules["torch"]
        self._torch = torch
        self._generator = torch.default_generator if generator is None else generator
        self._cuda = generator is None and torch.cuda.is_available() and torch.cuda.is_initialized()

    def get(self) -> State:
        state = {"cpu": self._generator.get_state().cpu().numpy().copy()}
        if self._cuda:
            state |= {f"cuda{at}": it.numpy().copy() for at, it in enumerate(self._torch.cuda.get_rng_state_all())}
        return state

    def set(self, state: State) -> None:
        self._generator.set_state(self._torch.from_numpy(np.array(state["cpu"])))
        if self._cuda:
            several = [self._torch.from_numpy(np.array(state[name])) for name in state if name.startswith("cuda")]
            self._torch.cuda.set_rng_state_all(several)

    def seed(self, seed: int) -> None:
        self._generator.manual_seed(seed)
        if self._cuda:
            self._torch.cuda.manual_seed_all(seed)


def _place_of(thing: Any) -> _Place | None:
    if isinstance(thing, np.random.Generator):
        return _NumpyGenerator(thing)
    if isinstance(thing, np.random.RandomState):
        return _Numpy(thing)
    if isinstance(thing, random.Random):
        return _Python(thing)
    torch: Any = sys.modules.get("torch")
    return _Torch(thing) if torch is not None and isinstance(thing, torch.Generator) else None


def generators_in(*things: Any) -> list[Any]:
    """List the random generators among the attributes of these things, each once."""
    kinds = (np.random.Generator, np.random.RandomState, random.Random)
    torch: Any = sys.modules.get("torch")
    all_kinds = kinds if torch is None else (*kinds, torch.Generator)
    found = [it for thing in things for it in getattr(thing, "__dict__", {}).values() if isinstance(it, all_kinds)]
    return list({id(it): it for it in found}.values())
