"""What is refused before any training, with the reason and the way out."""

# jax's and optax's stubs are partial, and pytrees are of any kind:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from learnrate._identity import digest
from learnrate._names import name_of
from learnrate.errors import InvalidArgumentError, UnsupportedProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SAME = 1e-4
"""Two calls that differ by less, relatively, may differ in the order of their sums alone."""


def check_params(params: Any) -> None:
    """Refuse parameters that have no gradient.

    Raises:
        UnsupportedProblemError: There are none, or one of them is not a floating array.
    """
    leaves = named(params)
    if not leaves:
        raise UnsupportedProblemError(
            "params has no leaves: pass a pytree of floating arrays, such as {'w': ..., 'b': ...}."
        )
    for name, leaf in leaves:
        dtype = getattr(leaf, "dtype", None)
        floating = jnp.issubdtype(dtype, jnp.inexact) if dtype is not None else isinstance(leaf, float)
        if not floating:
            raise UnsupportedProblemError(
                f"params{name} is a {type(leaf).__name__} of {dtype or 'no dtype'}, which has no gradient: params "
                f"holds floating arrays only. Integers and counters go into state=; close over functions and settings."
            )


def check_factory(make_optimizer: Any) -> None:
    """Refuse what makes no optimizer from a learning rate.

    Raises:
        UnsupportedProblemError: It is an optimizer already, or takes no `learning_rate`.
    """
    way = (
        "pass what makes one from a learning_rate: optax.adamw, functools.partial(optax.sgd, momentum=0.9), or "
        "lambda learning_rate: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(learning_rate))"
    )
    if hasattr(make_optimizer, "init") and hasattr(make_optimizer, "update"):
        raise UnsupportedProblemError(f"the optimizer has its learning rate already: {way}.")
    if not callable(make_optimizer):
        raise UnsupportedProblemError(f"the optimizer is a {type(make_optimizer).__name__}: {way}.")
    arguments = inspect.signature(make_optimizer).parameters.values()
    if not any(it.name == "learning_rate" or it.kind is inspect.Parameter.VAR_KEYWORD for it in arguments):
        takes = ", ".join(it.name for it in arguments) or "nothing"
        raise UnsupportedProblemError(f"{name_of(make_optimizer)} takes {takes}, and no learning_rate: {way}.")


def initial_state(make_optimizer: Callable[..., Any], params: Any) -> Any:
    """Return the optimizer's first state.

    Raises:
        UnsupportedProblemError: The factory returns no optimizer.
    """
    optimizer = make_optimizer(learning_rate=1e-3)
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise UnsupportedProblemError(
            f"{name_of(make_optimizer)} returned a {type(optimizer).__name__}: let it return an optax optimizer."
        )
    return optimizer.init(params)


def checked_key(key: Any) -> Any:
    """Return a key of `jax.random`.

    Raises:
        InvalidArgumentError: It is something else.
    """
    if key is None:
        return jax.random.key(0)
    try:
        jax.random.fold_in(key, 0)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"key is {key!r}: pass one such as jax.random.key(0).") from error
    return key


def checked_metrics(metrics: Mapping[str, Callable[..., Any]] | None) -> dict[str, Callable[..., Any]]:
    """Return metrics by name.

    Raises:
        InvalidArgumentError: A name is taken, or what computes it cannot be called.
    """
    known = dict(metrics or {})
    for name, function in known.items():
        if not callable(function):
            raise InvalidArgumentError(f"the metric {name!r} is a {type(function).__name__}: pass a function.")
        if name == "loss" or f"val_{name}" in known:
            raise InvalidArgumentError(f"the metric {name!r} has the name of another: give it one of its own.")
    return known


def check_loss(loss: Callable[..., Any], params: Any, state: Any, batch: Any, key: Any, *, carries: bool) -> None:
    """Call the loss twice on one batch: as JAX traces it, and as it is.

    Raises:
        UnsupportedProblemError: It is not one real number, cannot be traced, or is not pure.
    """
    try:
        with jax.checking_leaks():
            traced = jax.eval_shape(loss, params, state, batch, key)
    except jax.errors.JAXTypeError as error:
        raise UnsupportedProblemError(_untraceable(error)) from error
    except Exception as error:
        if "Leaked trace" in str(error):
            raise UnsupportedProblemError(
                f"loss_fn is not pure: it keeps a value of one call where the next can see it. Return it, by state=, "
                f"instead. {str(error).partition(chr(10))[0]}"
            ) from error
        words = ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(batch))
        error.add_note(f"learnrate called loss_fn with a batch of {words}")
        raise
    _check_outcome(traced, state, carries=carries)
    first, second = (jax.tree.leaves(loss(params, state, batch, key)) for _ in range(2))
    if not all(_same(one, other) for one, other in zip(first, second, strict=True)):
        raise UnsupportedProblemError(
            "loss_fn is not pure: two calls with the same arguments gave different values. Take random numbers from "
            "the key of loss_fn(params, state, batch, key), by key=jax.random.key(0), and what is counted from state."
        )


def _check_outcome(traced: Any, state: Any, *, carries: bool) -> None:
    form = "(scalar, new_state), since state= or key= was given" if carries else "a scalar, the mean over the batch"
    pair = cast("tuple[Any, ...]", traced) if isinstance(traced, tuple) else ()
    if len(pair) != 2:
        raise UnsupportedProblemError(f"loss_fn returned a {type(traced).__name__}: let it return {form}.")
    loss, new_state = pair
    if getattr(loss, "shape", None) != () or not jnp.issubdtype(loss.dtype, jnp.floating):
        came = f"{loss.dtype} of shape {loss.shape}" if hasattr(loss, "shape") else f"a {type(loss).__name__}"
        hint = "" if carries else " Where it returns more, pass state= or key=, or metrics=."
        raise UnsupportedProblemError(f"loss_fn returned {came}: let it return {form}.{hint}")
    if _form(new_state) != _form(state):
        raise UnsupportedProblemError(
            f"loss_fn returned a state of {_form(new_state)[1:]}, and state= was {_form(state)[1:]}: let it return all "
            f"of the state, in the same structure, shapes and dtypes."
        )


def check_update(update: Callable[..., Any], carry: Any, batch: Any, key: Any) -> None:
    """Trace a whole step at a rate that is not known.

    Raises:
        UnsupportedProblemError: The optimizer has to know the rate, or a metric cannot be compiled.
    """
    rate = jnp.asarray(1e-3, jnp.result_type(float))
    try:
        jax.eval_shape(update, carry, batch, rate, key)
    except jax.errors.JAXTypeError as error:
        raise UnsupportedProblemError(
            f"the optimizer or a metric cannot be compiled by JAX with a learning rate that changes from step to step: "
            f"{str(error).partition(chr(10))[0]}"
        ) from error


def check_stack(update: Callable[..., Any], carries: Any, batch: Any, key: Any) -> None:
    """Trace a whole step of stacked copies.

    Raises:
        UnsupportedProblemError: It cannot be batched.
    """
    rates = jnp.zeros(len(jax.tree.leaves(carries)[0]), jnp.result_type(float))
    try:
        jax.eval_shape(jax.vmap(update, in_axes=(0, None, 0, None)), carries, batch, rates, key)
    except Exception as error:
        line = str(error).strip().partition(chr(10))[0]
        raise UnsupportedProblemError(f"JAX cannot batch its training step: {line}") from error


def named(tree: Any) -> list[tuple[str, Any]]:
    """Return the leaves of a pytree by their path."""
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]


def shapes_digest(tree: Any) -> str:
    """Return a short word for the names, shapes and dtypes of a pytree."""
    return digest([(name, list(leaf.shape), str(leaf.dtype)) for name, leaf in named(tree)])


def key_words(key: Any) -> str:
    """Return the numbers of a key."""
    return " ".join(map(str, np.asarray(jax.random.key_data(key)).ravel().tolist()))


def _form(tree: Any) -> tuple[Any, ...]:
    arrays = jax.eval_shape(lambda: tree) if not _traced(tree) else tree
    return jax.tree.structure(tree), *((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(arrays))


def _traced(tree: Any) -> bool:
    return any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(tree))


def _same(one: Any, other: Any) -> bool:
    if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
        one, other = jax.random.key_data(one), jax.random.key_data(other)
    wide = np.complex128 if jnp.issubdtype(one.dtype, jnp.complexfloating) else np.float64
    return np.allclose(np.asarray(one).astype(wide), np.asarray(other).astype(wide), rtol=SAME, atol=0, equal_nan=True)


def _untraceable(error: Exception) -> str:
    return (
        f"loss_fn cannot be compiled by JAX: {str(error).partition(chr(10))[0]} Use jax.numpy instead of numpy, and "
        f"jnp.where or jax.lax.cond instead of if on values."
    )
