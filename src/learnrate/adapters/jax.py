"""JAX: a pytree of parameters, a pure loss function and an optax optimizer as a problem that every verb can train.

`JaxTrainable` trains a block of steps in one compiled loop. `optax_schedule` turns a schedule of learnrate's into one
of optax's.
"""

# jax's and optax's stubs are partial, and pytrees are of any kind:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# the same holds for the lambdas that are mapped over pytrees, and optax has no stubs at all:
# pyright: reportUnknownLambdaType=false, reportMissingTypeStubs=false

from __future__ import annotations

from learnrate.errors import MissingExtraError

try:
    import jax
    import jax.numpy as jnp
    import optax
except ImportError as error:
    raise MissingExtraError("JAX or optax is not installed; run: pip install learnrate[jax]") from error

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from learnrate._checks import positive_number, seed_integer, step_rates
from learnrate._names import identity_of
from learnrate.adapters import _jax_checks as checks
from learnrate.adapters._bad_samples import in_words
from learnrate.adapters._jax_data import Batches, Tree, read_data
from learnrate.adapters._jax_stack import CompiledStack
from learnrate.errors import InvalidArgumentError
from learnrate.schedules import Schedule
from learnrate.training import BLOCK, Dimensions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from learnrate.training import Part

__all__ = ["JaxSnapshot", "JaxTrainable", "optax_schedule"]

FloatArray = npt.NDArray[np.float64]
Carry = tuple[Tree, Tree, Tree]


class JaxSnapshot(NamedTuple):
    """All that a training consists of; JAX's arrays never change, so that it shares them with the training."""

    params: Tree
    opt_state: Tree
    state: Tree
    key: Any
    step: int


class JaxTrainable:
    """A pytree of parameters, a pure loss function, an optax optimizer and data, ready to train.

    One step is `updates, opt_state = optimizer.update(gradients, opt_state, params)` and
    `params = optax.apply_updates(params, updates)`, with `optimizer = make_optimizer(learning_rate=rate)` made inside
    the compiled loop, so that the rate is traced and its other settings stay what they are. A block of steps is one
    call of that loop, compiled once for all lengths; losses come to the host once a block.

    Random numbers come from keys alone: from `key` and the seed of `begin`, one key a step for `loss_fn` and one an
    epoch for shuffling. After `problem.restore(answer.best)` the trained weights are `problem.params`.

    Args:
        params: A pytree of floating arrays. It is copied, so that the user's may be donated elsewhere.
        loss_fn: `loss_fn(params, batch)` returns a scalar, a mean over the batch; with `state` or `key`
            `loss_fn(params, state, batch, key)` returns `(scalar, new_state)`, for BatchNorm and dropout. Pure.
        make_optimizer: An optax factory that takes `learning_rate`: `optax.adamw`, `partial(optax.sgd, momentum=0.9)`,
            or `lambda learning_rate: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(learning_rate))`.
        train_data: Arrays whose leading axis is the samples (an array, or a tuple, dict or other pytree of them):
            shuffled each epoch, cut into batches, the last partial batch dropped. Or a list, or anything else that can
            be iterated again and again and gives the same batches each time: taken as they are, in their order.
        validation_data: Likewise, for `evaluate`, in order and with nothing dropped; None evaluates nothing.
        state: A pytree of what `loss_fn` carries along without gradient, such as BatchNorm's averages.
        key: A `jax.random.key`, where `loss_fn` draws random numbers; by default `jax.random.key(0)`.
        batch_size: Samples a step for arrays; 32, as is usual for small models, or all where there are fewer.
        metrics: Names and functions `(params, batch) -> scalar`, or `(params, state, batch) -> scalar` with `state`,
            averaged over the samples. Each is reported per training step too, of the weights before the update; one
            whose name begins with "val_" is for the validation alone. "val_loss" replaces `loss_fn` there, which is
            otherwise called with a fixed key and the state as it is, and cannot know that this is no training.
        learning_rate: The rate that you use now, to compare the answer with.

    Raises:
        InvalidArgumentError: The data is empty, its axes differ, or it can be iterated once only, or a number cannot
            be used.
        UnsupportedProblemError: `params` holds something without a gradient, `loss_fn` is not a pure function that
            JAX compiles and that returns a scalar, or the optimizer takes no `learning_rate`.

    Example:
        >>> x = np.linspace(-1, 1, 64, dtype=np.float32)
        >>> def loss_fn(params, batch):
        ...     inputs, targets = batch
        ...     return jnp.mean((params["slope"] * inputs - targets) ** 2)
        >>> problem = JaxTrainable({"slope": jnp.zeros(())}, loss_fn, optax.sgd, (x, 2 * x), batch_size=16)
        >>> problem.steps_per_epoch
        4
        >>> losses = problem.train(np.full(4, 0.5))["loss"]
        >>> bool(losses[-1] < losses[0])
        True
    """

    framework = "jax"

    def __init__(
        self,
        params: Tree,
        loss_fn: Callable[..., Any],
        make_optimizer: Callable[..., optax.GradientTransformation],
        train_data: Any,
        validation_data: Any = None,
        *,
        state: Tree = None,
        key: Any = None,
        batch_size: int | None = None,
        metrics: Mapping[str, Callable[..., Any]] | None = None,
        learning_rate: float | None = None,
    ) -> None:
        self.learning_rate = None if learning_rate is None else positive_number("learning_rate", learning_rate)
        checks.check_params(params)
        checks.check_factory(make_optimizer)
        self._key = checks.checked_key(key)
        self._train = read_data("train_data", train_data, batch_size, drop_rest=True)
        if batch_size is not None and isinstance(self._train, Batches):
            raise InvalidArgumentError(
                f"batch_size is {batch_size!r}, and train_data comes in batches already: leave it out, or pass arrays."
            )
        self._validation = (
            None
            if validation_data is None
            else read_data("validation_data", validation_data, batch_size, drop_rest=False)
        )
        self._loss_fn, self._make_optimizer = loss_fn, make_optimizer
        self._carries = state is not None or key is not None
        self._with_state = state is not None
        self._metrics = checks.checked_metrics(metrics)
        self._train_metrics = [name for name in self._metrics if not name.startswith("val_")]
        self._params, self._state = _copied(params), _copied(state)
        self._opt_state = _copied(checks.initial_state(make_optimizer, self._params))
        self._validation_key = jax.random.fold_in(self._key, 2**32 - 1)
        self._root, self._step = self._key, 0
        batch = self._train.first()
        checks.check_loss(self._loss, self._params, self._state, batch, self._validation_key, carries=self._carries)
        checks.check_update(self._update, (self._params, self._opt_state, self._state), batch, self._validation_key)
        self._train_block = jax.jit(self._train_loop)
        self._evaluate_block = jax.jit(self._evaluate_loop)
        self._train_stack = jax.jit(jax.vmap(self._train_loop, in_axes=(0, None, 1, None), out_axes=(0, 1)))
        self._evaluate_stack = jax.jit(jax.vmap(self._evaluate_loop, in_axes=(0, 0, None), out_axes=1))

    @property
    def params(self) -> Tree:
        """The present parameters, in the user's structure."""
        return self._params

    @property
    def state(self) -> Tree:
        """The present state of `loss_fn`, None where there is none."""
        return self._state

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the training data."""
        return self._train.num_batches

    @property
    def evaluation_steps(self) -> float:
        """What an evaluation costs in training steps: a forward pass takes a third of a step."""
        return 0.0 if self._validation is None else self._validation.num_samples / self._train.batch_samples / 3

    def begin(self, learning_rate: float, epochs: float, seed: int) -> None:
        """Begin a fresh training: derive the keys of shuffling and of `loss_fn` from the seed, and start the data."""
        del learning_rate, epochs
        self._root = jax.random.fold_in(self._key, np.uint32(seed_integer(seed)))
        self._step = 0

    def describe(self) -> dict[str, str | int | float]:
        """Return what makes this problem this problem: names, shapes and settings, but no weights and no rate."""
        return {
            "kind": "jax",
            "loss": identity_of(self._loss_fn),
            "optimizer": identity_of(self._make_optimizer),
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(self._params)),
            "shapes": checks.shapes_digest((self._params, self._opt_state, self._state)),
            "key": checks.key_words(self._key),
            "steps_per_epoch": self.steps_per_epoch,
            "training_samples": self._train.num_samples,
            "validation_samples": 0 if self._validation is None else self._validation.num_samples,
            "metrics": " ".join(self._metrics),
        }

    def train(self, learning_rates: npt.ArrayLike) -> dict[str, FloatArray]:
        """Make one update per rate; return the loss of each, and each training metric, as they are.

        Raises:
            InvalidArgumentError: A rate is negative or not finite, or the data has changed.
        """
        rates = step_rates(learning_rates)
        carry, report = self._trained(self._train_block, (self._params, self._opt_state, self._state), rates)
        self._params, self._opt_state, self._state = carry
        return report

    def _trained(self, train_block: Any, carry: Carry, rates: FloatArray) -> tuple[Carry, dict[str, FloatArray]]:
        """Train over the batches that come next, one carry or several stacked ones."""
        shuffling, drawing = jax.random.split(self._root)
        step = self._step
        reports: list[Any] = []
        for piece in self._train.pieces(shuffling, step, len(rates)):
            count = len(piece.indices)
            block = _padded(rates[step - self._step : step - self._step + count])
            steps = _Steps(piece.data, _padded(piece.indices), drawing, np.int32(count))
            carry, report = train_block(carry, steps, block, np.uint32(step))
            reports.append({name: values[:count] for name, values in report.items()})
            step += count
        found = jax.device_get(reports)
        self._step = step
        return carry, {name: np.concatenate([report[name] for report in found]).astype(np.float64) for name in found[0]}

    def evaluate(self) -> dict[str, float]:
        """Return the validation loss and metrics, "val_…", means over the samples; changes nothing."""
        found = self._evaluated(self._evaluate_block, self._params, self._state)
        return {name: float(value) for name, value in found.items()}

    def first_bad_sample(self, part: Part) -> str | None:
        """Say which sample of the training or the validation data is the first that holds NaN or infinity, if any."""
        data = self._train if part == "training" else self._validation
        return None if data is None else in_words(data.first_bad_sample(), f"the {part} data")

    def _evaluated(self, evaluate_block: Any, params: Tree, state: Tree) -> dict[str, Any]:
        if self._validation is None:
            return {}
        reports: list[Any] = []
        weights: list[FloatArray] = []
        for piece in self._validation.in_order():
            count = len(piece.indices)
            steps = _Steps(piece.data, _padded(piece.indices), self._validation_key, np.int32(count))
            report = evaluate_block(params, state, steps)
            reports.append({name: values[:count] for name, values in report.items()})
            weights.append(np.full(count, float(piece.batch_samples)))
        found = jax.device_get(reports)
        shares = np.concatenate(weights) / self._validation.num_samples
        columns = {name: np.concatenate([report[name] for report in found]) for name in found[0]}
        with np.errstate(over="ignore", invalid="ignore"):
            return {name: np.sum(shares * column.T.astype(np.float64), axis=-1) for name, column in columns.items()}

    @property
    def dimensions(self) -> Dimensions:
        """How large the problem is, which decides whether copies of it are worth being trained in one program."""
        leaves = jax.tree.leaves(self._params)
        parameters, is_dense = sum(leaf.size for leaf in leaves), all(leaf.ndim <= 2 for leaf in leaves)
        return Dimensions("jax", jax.default_backend(), parameters, float(self._train.batch_samples), is_dense)

    def stack(self, snapshots: Sequence[JaxSnapshot]) -> CompiledStack:
        """Return copies of the problem that are trained in one program, each from one of these snapshots.

        Raises:
            UnsupportedProblemError: JAX has no batching rule for something in the loss or the optimizer.
        """
        self.restore(snapshots[0])
        stack = CompiledStack(
            [(one.params, one.opt_state, one.state) for one in snapshots],
            lambda carry, rates: self._trained(self._train_stack, carry, rates),
            lambda carry: self._evaluated(self._evaluate_stack, carry[0], carry[2]),
            lambda carry: JaxSnapshot(carry[0], carry[1], carry[2], self._root, self._step),
        )
        checks.check_stack(self._update, stack.carry, self._train.first(), self._validation_key)
        return stack

    def snapshot(self) -> JaxSnapshot:
        """Return parameters, optimizer state, state, key and place; nothing is copied, since nothing is changed."""
        return JaxSnapshot(self._params, self._opt_state, self._state, self._root, self._step)

    def restore(self, snapshot: JaxSnapshot) -> None:
        """Put everything back by assignment.

        Raises:
            InvalidArgumentError: The snapshot is of another problem.
        """
        if jax.tree.structure(snapshot) != jax.tree.structure(self.snapshot()):
            raise InvalidArgumentError("the snapshot is of another problem: its parameters or states differ.")
        self._params, self._opt_state, self._state, self._root, self._step = snapshot

    def save(self, snapshot: JaxSnapshot, path: Path) -> None:
        """Write a snapshot's leaves as safetensors, each under its path in the tree and in its dtype."""
        from safetensors.numpy import save_file

        leaves = {name: np.array(_plain(leaf), order="C") for name, leaf in checks.named(snapshot)}
        partial = path.with_name(path.name + ".partial")
        save_file(leaves, partial, metadata={"learnrate": json.dumps({"kind": "jax"})})
        partial.replace(path)

    def load(self, path: Path) -> JaxSnapshot:
        """Read a snapshot that `save` wrote, in the structure of this problem.

        Raises:
            InvalidArgumentError: The file is something else, or of another problem.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            found = load_file(Path(path))
        except (SafetensorError, KeyError, ValueError) as error:
            raise InvalidArgumentError(f"{path} is not a snapshot that learnrate wrote: {error!r}.") from error
        live = self.snapshot()
        wanted = checks.named(live)
        if {name: _kind(leaf) for name, leaf in wanted} != {name: _kind(leaf) for name, leaf in found.items()}:
            raise InvalidArgumentError(f"{path} is a snapshot of another problem: its names, shapes or dtypes differ.")
        leaves = [_like(leaf, found[name]) for name, leaf in wanted]
        return jax.tree.unflatten(jax.tree.structure(live), leaves)

    def _loss(self, params: Tree, state: Tree, batch: Tree, key: Any) -> tuple[Any, Tree]:
        return self._loss_fn(params, state, batch, key) if self._carries else (self._loss_fn(params, batch), state)

    def _measured(self, params: Tree, state: Tree, batch: Tree, name: str) -> Any:
        arguments = (params, state, batch) if self._with_state else (params, batch)
        return self._metrics[name](*arguments)

    def _update(self, carry: Carry, batch: Tree, rate: Any, key: Any) -> tuple[Carry, dict[str, Any]]:
        """Make one step; what comes out has the dtypes of what went in, as a compiled loop needs."""
        params, opt_state, state = carry
        (loss, new_state), gradients = jax.value_and_grad(self._loss, has_aux=True)(params, state, batch, key)
        report = {"loss": loss} | {name: self._measured(params, state, batch, name) for name in self._train_metrics}
        updates, new_opt_state = self._make_optimizer(learning_rate=rate).update(gradients, opt_state, params)
        new = optax.apply_updates(params, updates), new_opt_state, new_state
        return jax.tree.map(
            lambda leaf, old: jnp.asarray(leaf, None if _is_key(old) else old.dtype), new, carry
        ), report

    def _train_loop(self, carry: Carry, steps: _Steps, rates: Any, first_step: Any) -> tuple[Carry, dict[str, Any]]:
        """Make the first steps, as many as there are: their number is traced, so one compilation serves all."""
        rates = jnp.asarray(rates, jnp.result_type(float))

        def step(at: Any, looped: tuple[Carry, dict[str, Any]]) -> tuple[Carry, dict[str, Any]]:
            old, reports = looped
            key = jax.random.fold_in(steps.key, first_step + at.astype(jnp.uint32))
            new, report = self._update(old, steps.batch(at), rates[at], key)
            return new, _put(reports, at, report)

        return jax.lax.fori_loop(0, steps.length, step, (carry, _room(("loss", *self._train_metrics))))

    def _evaluate_loop(self, params: Tree, state: Tree, steps: _Steps) -> dict[str, Any]:
        names = {name if name.startswith("val_") else f"val_{name}": name for name in self._metrics}

        def step(at: Any, reports: dict[str, Any]) -> dict[str, Any]:
            batch = steps.batch(at)
            report = {shown: self._measured(params, state, batch, name) for shown, name in names.items()}
            if "val_loss" not in report:
                report["val_loss"] = self._loss(params, state, batch, steps.key)[0]
            return _put(reports, at, report)

        return jax.lax.fori_loop(0, steps.length, step, _room(("val_loss", *names)))


class _Steps(NamedTuple):
    """What a compiled loop goes over, padded to `BLOCK`, and how many of it."""

    data: Tree
    indices: Any
    key: Any
    length: Any

    def batch(self, at: Any) -> Tree:
        return jax.tree.map(lambda array: array[self.indices[at]], self.data)


def optax_schedule(schedule: Schedule) -> Callable[[Any], jax.Array]:
    """Return a schedule of learnrate's as one of optax's: a function from a step, traced or not, to a rate.

    The rates are looked up in a table of `total_steps`; a step past the end gets the last rate.

    Args:
        schedule: Made by one of `learnrate.schedules`.

    Raises:
        InvalidArgumentError: It is something else.

    Example:
        >>> from learnrate.schedules import cosine
        >>> optimizer = optax.sgd(optax_schedule(cosine(0.1, 100)))
        >>> float(optax_schedule(cosine(0.5, 4))(2))
        0.25
    """
    if not isinstance(schedule, Schedule):  # pyright: ignore[reportUnnecessaryIsInstance]  # users err
        raise InvalidArgumentError(
            f"the schedule is a {type(schedule).__name__}: pass one of learnrate.schedules, such as cosine(0.1, 1000)."
        )
    table = schedule.values()

    def rate_at(step: Any) -> jax.Array:
        return jnp.asarray(table, jnp.result_type(float))[jnp.clip(jnp.asarray(step), 0, len(table) - 1)]

    return rate_at


def _copied(tree: Tree) -> Tree:
    """Copy a tree into arrays whose dtypes are fixed: a weak one would be compiled for again."""
    return jax.tree.map(
        lambda leaf: jnp.array(leaf, None if _is_key(leaf) else jnp.asarray(leaf).dtype, copy=True), tree
    )


def _room(names: Any) -> dict[str, Any]:
    return {name: jnp.zeros(BLOCK, jnp.result_type(float)) for name in names}


def _put(reports: dict[str, Any], at: Any, report: dict[str, Any]) -> dict[str, Any]:
    return {name: values.at[at].set(jnp.asarray(report[name], values.dtype)) for name, values in reports.items()}


def _padded(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.concatenate([values, np.zeros((BLOCK - len(values), *values.shape[1:]), values.dtype)])


def _plain(leaf: Any) -> Any:
    """Return a key as its numbers, any other leaf as it is."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _kind(leaf: Any) -> tuple[Any, Any]:
    plain = np.asarray(_plain(leaf))
    return plain.shape, plain.dtype


def _like(leaf: Any, found: np.ndarray[Any, Any]) -> Any:
    if isinstance(leaf, int):
        return int(found)
    return (
        jax.random.wrap_key_data(jnp.asarray(found), impl=jax.random.key_impl(leaf))
        if _is_key(leaf)
        else jnp.asarray(found)
    )
