"""A block of steps in each of Keras's backends: one compiled loop in TensorFlow and JAX, a plain one in PyTorch."""

# keras and the backends have partial stubs or none, and batches and states are of any kind:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false
# the same holds for the lambdas that go into the backends:
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

import keras
import numpy as np
import numpy.typing as npt

from learnrate.errors import UnsupportedProblemError
from learnrate.training import BLOCK

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping

    from learnrate.adapters._keras_data import Form, Piece

FloatArray = npt.NDArray[np.float64]
Report = dict[str, FloatArray]


class Loop(Protocol):
    """Trains and tests a model in its backend, over batches of one form.

    Each step is what `train_on_batch` does: the metrics are reset, `train_step` is called, and its logs are those of
    this batch alone.
    """

    def train(self, pieces: list[Piece], rates: FloatArray) -> Report:
        """Make one step per rate; return the scalars of `train_step`'s logs."""
        ...

    def evaluate(self, pieces: Iterable[Piece]) -> dict[str, float]:
        """Reset the metrics, test all batches, and return the scalars of the last logs; changes nothing."""
        ...


def loop_for(model: Any, form: Form) -> Loop:
    """Make the loop of the backend in use."""
    backend = keras.config.backend()
    if backend == "jax":
        return _Jax(model, form)
    if backend == "tensorflow" and not model.run_eagerly:
        return _TensorFlow(model, form)
    return _Eager(model, form)


def device_in_use() -> str:
    """Return what kind of device the backend computes on: "cpu", or the name that the backend has for another."""
    if keras.config.backend() == "jax":
        import jax

        return jax.default_backend()
    if keras.config.backend() == "torch":
        from keras.src.backend.torch.core import get_device  # there is no public way to ask

        return str(get_device()).partition(":")[0]
    import tensorflow as tf

    kind: Any = tf
    return "cuda" if kind.config.list_physical_devices("GPU") else "cpu"


def scalars(logs: Any) -> dict[str, Any]:
    """Return those of the logs that are single numbers.

    Raises:
        UnsupportedProblemError: There are no logs, or no loss among them.
    """
    found = {name: it for name, it in dict(logs).items() if np.prod(np.shape(it)) == 1} if _is_mapping(logs) else {}
    if "loss" not in found:
        came = f"a mapping with {sorted(logs)}" if _is_mapping(logs) else f"a {type(logs).__name__}"
        raise UnsupportedProblemError(
            f"the model's train_step or test_step returned {came}: let it return a dict of numbers with the loss, as "
            f"'loss'."
        )
    return found


def _is_mapping(logs: Any) -> bool:
    return hasattr(logs, "keys")


def values_of(variables: Iterable[Any]) -> list[npt.NDArray[Any]]:
    """Return copies of variables; what the backend gives may be the memory that it computes in."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assign(variables: Iterable[Any], values: Iterable[npt.NDArray[Any]]) -> None:
    """Write values into variables, in place."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(np.array(value))  # a copy: a JAX array may share it, and be given away by a step of `fit`


@contextlib.contextmanager
def _kept(variables: list[Any]) -> Generator[None]:
    before = values_of(variables)
    try:
        yield
    finally:
        assign(variables, before)


def _padded(values: npt.NDArray[Any], room: int) -> npt.NDArray[Any]:
    return np.concatenate([values, np.zeros((room - len(values), *values.shape[1:]), values.dtype)])


def _host(reports: list[Mapping[str, Any]], copies: tuple[int, ...] = ()) -> Report:
    names = dict.fromkeys(name for report in reports for name in report)
    return {
        name: np.concatenate([np.asarray(report[name], dtype=np.float64).reshape(-1, *copies) for report in reports])
        for name in names
    }


class _TensorFlow:
    """A `tf.while_loop` over steps; its length is a tensor, so that one trace serves all blocks of a batch's shape."""

    def __init__(self, model: Any, form: Form) -> None:
        import tensorflow as tf

        self._tf: Any = tf
        self._model, self._form = model, form
        self._compiled: dict[Any, Any] = {}

    def train(self, pieces: list[Piece], rates: FloatArray) -> Report:
        reports: list[Any] = []
        start = 0
        for piece in pieces:
            stop = start + len(piece.rows)
            reports.append(self._run(piece, rates[start:stop], training=True))
            start = stop
        return _host([{name: it.numpy() for name, it in report.items()} for report in reports])

    def evaluate(self, pieces: Iterable[Piece]) -> dict[str, float]:
        report: Any = {}
        with _kept([*self._model.non_trainable_variables, *self._model.metrics_variables]):
            self._model.reset_metrics()
            for piece in pieces:
                report = self._run(piece, np.zeros(len(piece.rows)), training=False)
        return {name: float(it.numpy()[-1]) for name, it in report.items()}

    def _run(self, piece: Piece, rates: FloatArray, *, training: bool) -> Any:
        shapes = [(tuple(leaf.shape), leaf.dtype) for leaf in piece.leaves]
        key = (training, piece.rows.shape[1:], *shapes)
        if key not in self._compiled:
            self._compiled[key] = self._block(piece, training=training)
        kind = keras.config.floatx()
        return self._compiled[key](piece.leaves, piece.rows, rates.astype(kind), np.int32(len(rates)))

    def _block(self, piece: Piece, *, training: bool) -> Any:
        tf, model, rate = self._tf, self._model, self._model.optimizer.learning_rate

        def one(leaves: list[Any]) -> dict[str, Any]:
            if not training:
                return scalars(model.test_step(self._form.pack(leaves)))
            model.reset_metrics()
            return scalars(model.train_step(self._form.pack(leaves)))

        step = tf.function(one, autograph=False, jit_compile=model.jit_compile)
        row = piece.rows.shape[1:]
        batch = [tf.TensorSpec((*row, *leaf.shape[1:]), leaf.dtype) for leaf in piece.leaves]
        logs = step.get_concrete_function(batch).structured_outputs

        def block(leaves: list[Any], rows: Any, rates: Any, count: Any) -> dict[str, Any]:
            def body(at: Any, reports: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
                if training:
                    rate.assign(rates[at])
                found = step([tf.gather(leaf, rows[at]) for leaf in leaves])
                return at + 1, {name: it.write(at, tf.reshape(found[name], ())) for name, it in reports.items()}

            room = {name: tf.TensorArray(it.dtype, size=count, element_shape=()) for name, it in logs.items()}
            reports = tf.while_loop(lambda at, _: at < count, body, (0, room), parallel_iterations=1)[1]
            return {name: it.stack() for name, it in reports.items()}

        signature = [
            [tf.TensorSpec(leaf.shape, leaf.dtype) for leaf in piece.leaves],
            tf.TensorSpec((None, *row), tf.int32),
            tf.TensorSpec((None,), keras.config.floatx()),
            tf.TensorSpec((), tf.int32),
        ]
        return tf.function(block, autograph=False, input_signature=signature)


class _Jax:
    """A `fori_loop` over the stateless step; its length is traced, so that one compilation serves all blocks."""

    def __init__(self, model: Any, form: Form) -> None:
        import jax

        self._jax: Any = jax
        self._model, self._form = model, form
        self._compiled = not model.run_eagerly and bool(model.jit_compile)
        # For the CPU XLA makes slower code of a convolution inside a loop, and rounds it otherwise.
        self._loops = self._compiled and not (jax.default_backend() == "cpu" and _convolves(model))
        with _kept(model.metrics_variables):
            model.reset_metrics()
            self._fresh = [jax.numpy.array(value) for value in values_of(model.metrics_variables)]
        rate = model.optimizer.learning_rate
        self._rate = next(at for at, it in enumerate(model.optimizer.variables) if it is rate)
        self._train_block, self._test_block = map(self._block_of, (self._train_step, self._test_step))
        self._stacked_blocks: Any = None

    def train(self, pieces: list[Piece], rates: FloatArray) -> Report:
        carry, report = self._trained(self._train_block, self.carry(), pieces, rates)
        self.put(carry)
        return report

    def put(self, carry: Any) -> None:
        """Write what a training step has given into the model."""
        for several, values in zip(self._variables(), carry, strict=True):
            for variable, value in zip(several, values, strict=True):
                variable.assign(value)

    def _variables(self) -> Any:
        model = self._model
        return model.trainable_variables, model.non_trainable_variables, model.optimizer.variables

    def carry(self) -> Any:
        """Return the values that a training step takes and gives."""
        return tuple([it.value for it in several] for several in self._variables())

    def train_stacked(self, carry: Any, pieces: list[Piece], rates: FloatArray) -> tuple[Any, Report]:
        """Train several carries, stacked along a first axis, at rates of (steps, copies)."""
        return self._trained(self._stacked()[0], carry, pieces, rates)

    def evaluate_stacked(self, carry: Any, pieces: Iterable[Piece]) -> Report:
        """Test several stacked carries."""
        numpy = self._jax.numpy
        size = len(carry[0][0])
        fresh = [numpy.broadcast_to(value, (size, *value.shape)) for value in self._fresh]
        carry, report = (carry[0], carry[1], fresh), {}
        for piece in pieces:
            carry, report = self._run(self._stacked()[1], carry, piece, np.zeros((len(piece.rows), size)))
        return {name: np.asarray(it[-1], np.float64) for name, it in self._jax.device_get(report).items()}

    def _stacked(self) -> Any:
        if self._stacked_blocks is None:
            steps = (self._train_step, self._test_step)
            self._stacked_blocks = [self._block_of(step, stacked=True) for step in steps]
        return self._stacked_blocks

    def _trained(self, block: Any, carry: Any, pieces: list[Piece], rates: FloatArray) -> tuple[Any, Report]:
        reports: list[Any] = []
        start = 0
        for piece in pieces:
            stop = start + len(piece.rows)
            carry, report = self._run(block, carry, piece, rates[start:stop])
            reports.append(report)
            start = stop
        return carry, _host(self._jax.device_get(reports), rates.shape[1:])

    def evaluate(self, pieces: Iterable[Piece]) -> dict[str, float]:
        variables = self._model.trainable_variables, self._model.non_trainable_variables
        carry: Any = (*([it.value for it in several] for several in variables), self._fresh)
        report: Any = {}
        for piece in pieces:
            carry, report = self._run(self._test_block, carry, piece, np.zeros(len(piece.rows)))
        return {name: float(np.reshape(it[-1], ())) for name, it in self._jax.device_get(report).items()}

    def _run(self, block: Any, carry: Any, piece: Piece, rates: FloatArray) -> Any:
        count = len(rates)
        # Samples of one's own come in blocks of any length, batches from elsewhere in two.
        room = BLOCK if piece.rows.ndim > 1 else count
        rates = _padded(rates.astype(keras.config.floatx()), room)
        carry, report = block(carry, piece.leaves, _padded(piece.rows, room), rates, np.int32(count))
        return carry, {name: values[:count] for name, values in report.items()}

    def _train_step(self, carry: Any, batch: Any, rate: Any) -> tuple[Any, Any]:
        trainable, others, optimizer = carry
        own = optimizer[self._rate]
        optimizer = [*optimizer[: self._rate], rate.astype(own.dtype), *optimizer[self._rate + 1 :]]
        logs, state = self._model.train_step((trainable, others, optimizer, self._fresh), batch)
        return list(state[:3]), logs

    def _test_step(self, carry: Any, batch: Any, rate: Any) -> tuple[Any, Any]:
        del rate
        logs, state = self._model.test_step(carry, batch)
        return list(state), logs

    def check_stack(self, carry: Any, piece: Piece) -> None:
        """Trace a training step of several stacked carries.

        Raises:
            UnsupportedProblemError: JAX cannot batch it.
        """
        several = self._jax.vmap(self._made(self._train_step), in_axes=(0, None, None, 1, None))
        rates = np.zeros((len(piece.rows), len(carry[0][0])), keras.config.floatx())
        try:
            self._jax.eval_shape(several, carry, piece.leaves, piece.rows, rates, np.int32(0))
        except Exception as error:
            line = str(error).strip().partition("\n")[0]
            raise UnsupportedProblemError(f"JAX cannot batch the model's training step: {line}") from error

    def _made(self, step: Any) -> Any:
        jax = self._jax
        numpy = jax.numpy

        def made(carry: Any, leaves: Any, rows: Any, rates: Any, at: Any) -> tuple[Any, dict[str, Any]]:
            batch = [leaf.at[rows[at]].get(mode="promise_in_bounds") for leaf in leaves]
            # What is fused across a step's edges is rounded otherwise than in a step by itself.
            carry, batch, rate = jax.lax.optimization_barrier((tuple(carry), batch, rates[at]))
            new, logs = step(carry, self._form.pack(batch), rate)
            same = jax.tree.map(lambda value, old: numpy.asarray(value, old.dtype), tuple(new), carry)
            return same, {name: numpy.reshape(it, ()) for name, it in scalars(logs).items()}

        return made

    def _block_of(self, step: Any, *, stacked: bool = False) -> Any:
        """Return what makes the first `count` steps: one compiled loop, or a loop over a step, compiled or not.

        Where it is stacked it makes them for several carries at once, each at a rate of its own.
        """
        jax = self._jax
        numpy, made = jax.numpy, self._made(step)

        def looped(carry: Any, leaves: Any, rows: Any, rates: Any, count: Any) -> Any:
            def body(at: Any, state: Any) -> Any:
                new, report = made(state[0], leaves, rows, rates, at)
                return new, {name: values.at[at].set(report[name]) for name, values in state[1].items()}

            logs = jax.eval_shape(made, carry, leaves, rows, rates, numpy.int32(0))[1]
            room = {name: numpy.zeros(len(rates), it.dtype) for name, it in logs.items()}
            return jax.lax.fori_loop(0, count, body, (tuple(carry), room))

        if stacked:
            looped = jax.vmap(looped, in_axes=(0, None, None, 1, None), out_axes=(0, 1))
        several = jax.vmap(made, in_axes=(0, None, None, 1, None)) if stacked else made
        one = jax.jit(several, donate_argnums=0) if self._compiled else several

        def repeated(carry: Any, leaves: Any, rows: Any, rates: Any, count: Any) -> Any:
            rows, rates = numpy.asarray(rows), numpy.asarray(rates)
            carry = jax.tree.map(numpy.copy, tuple(carry))  # the model's own values are not given away
            reports: list[Any] = []
            for at in range(int(count)):
                carry, report = one(carry, leaves, rows, rates, np.int32(at))
                reports.append(report)
            found = jax.device_get(reports)
            return carry, {name: np.array([it[name] for it in found]) for name in found[0]}

        return jax.jit(looped) if self._loops else repeated


def _convolves(model: Any) -> bool:
    return any("Conv" in type(layer).__name__ for layer in model._flatten_layers())  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # layers alone has the outermost only


class _Eager:
    """Step after step in Python: PyTorch, or TensorFlow with `run_eagerly`."""

    def __init__(self, model: Any, form: Form) -> None:
        self._model, self._form = model, form
        self._torch = keras.config.backend() == "torch"
        self._train_step, self._test_step = model.train_step, model.test_step
        if self._torch and model.jit_compile:
            import torch

            self._train_step, self._test_step = torch.compile(model.train_step), torch.compile(model.test_step)

    def train(self, pieces: list[Piece], rates: FloatArray) -> Report:
        model, rate = self._model, self._model.optimizer.learning_rate
        reports: list[dict[str, Any]] = []
        following = iter(rates.tolist())
        with self._mode(training=True):
            for piece in pieces:
                for batch in self._batches(piece):
                    rate.assign(next(following))
                    model.reset_metrics()
                    reports.append(scalars(self._train_step(batch)))
        if self._torch:
            for variable in model.trainable_variables:
                variable.value.grad = None
        return self._gathered(reports)

    def evaluate(self, pieces: Iterable[Piece]) -> dict[str, float]:
        model = self._model
        logs: dict[str, Any] = {}
        with _kept([*model.non_trainable_variables, *model.metrics_variables]), self._mode(training=False):
            model.reset_metrics()
            for piece in pieces:
                for batch in self._batches(piece):
                    logs = scalars(self._test_step(batch))
            return {name: float(values[0]) for name, values in self._gathered([logs]).items()}

    def _batches(self, piece: Piece) -> Iterator[Any]:
        rows: Any = keras.ops.convert_to_tensor(piece.rows)
        for at in range(len(piece.rows)):
            row = rows[at]
            leaves = [leaf[row] if self._torch else keras.ops.take(leaf, row, axis=0) for leaf in piece.leaves]
            yield self._form.pack(leaves)

    def _gathered(self, reports: list[dict[str, Any]]) -> Report:
        """Bring the logs to the host at once, however many there are."""
        names = list(reports[0])
        if not self._torch:
            return {name: np.array([float(report[name]) for report in reports]) for name in names}
        import torch

        columns = {name: [torch.as_tensor(it[name]).detach().reshape(()) for it in reports] for name in names}
        return {name: torch.stack(it).cpu().double().numpy() for name, it in columns.items()}

    @contextlib.contextmanager
    def _mode(self, *, training: bool) -> Generator[None]:
        """Put PyTorch's modules into train or eval mode, as `fit` does, and back."""
        if not self._torch:
            yield
            return
        import torch

        modes = [(module, module.training) for module in self._model.modules()]
        self._model.train(training)
        try:
            with torch.set_grad_enabled(training):
                yield
        finally:
            for module, mode in modes:
                module.training = mode
