"""Keras 3, on TensorFlow, JAX or PyTorch: a compiled model and its data as a problem that every verb can train.

`KerasTrainable` takes the words of `fit` and trains a block of steps in one compiled loop. `learning_rate_schedule`
turns a schedule of learnrate's into one of Keras's, and `schedule_from` one of Keras's into a schedule for
`select(..., schedule=...)`.
"""

# keras has no stubs, and batches and states are of any kind:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false

from __future__ import annotations

from learnrate.errors import MissingExtraError

try:
    import keras
except ImportError as error:
    raise MissingExtraError(
        "Keras 3 or its backend is not installed; run: pip install 'learnrate[keras]', and the backend that "
        f"KERAS_BACKEND names: tensorflow, jax or torch ({error})"
    ) from error

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from learnrate._checks import positive_integer, seed_integer, step_rates
from learnrate.adapters import _keras_checks as checks
from learnrate.adapters._keras_data import Place, Samples
from learnrate.adapters._keras_loops import assign, device_in_use, loop_for, values_of
from learnrate.adapters._keras_random import Generators, derived
from learnrate.adapters._keras_schedules import learning_rate_schedule, schedule_from
from learnrate.adapters._keras_sources import source_of
from learnrate.errors import InvalidArgumentError, UnsupportedProblemError
from learnrate.training import Dimensions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from learnrate.training import Part, Stack

__all__ = ["KerasSnapshot", "KerasTrainable", "learning_rate_schedule", "schedule_from"]

FloatArray = npt.NDArray[np.float64]
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class KerasSnapshot:
    """A copy of all that a training consists of: variables, random generators, and the place in the data."""

    variables: list[Array]
    random: dict[str, Array]
    place: Place

    def __repr__(self) -> str:
        return f"KerasSnapshot of {self.place}"


class KerasTrainable:
    """A compiled Keras 3 model and its data, ready to train.

    A step here equals `model.train_on_batch` on the same batch, bit for bit, with the loss and the metrics of that
    batch alone. A block of steps is one compiled loop in TensorFlow and JAX, compiled once for all its lengths. The
    model's own `train_step` and `test_step` are called, so that those of a subclass hold; `run_eagerly` and
    `jit_compile` mean what they mean in `compile`. Callbacks and `steps_per_execution` have no say here.

    Each pass over arrays is shuffled by the seed that the training began with. The optimizer's learning rate stays the
    variable that it is. After `problem.restore(answer.best)` the model has the winner's weights.

    Args:
        model: A compiled `keras.Model`; one that is not built yet is built from the data.
        x: Inputs: an array, or several in a tuple, list or dict; or a `tf.data.Dataset`, a `keras.utils.PyDataset` or
            a PyTorch DataLoader of batches `(inputs, targets)` or `(inputs, targets, sample_weights)`.
        y: Targets, where x is made of arrays.
        validation_data: `(x, y)`, `(x, y, sample_weight)`, or batches as above; None evaluates nothing.
        validation_split: The fraction of the arrays' last samples that is kept for `evaluate`, where there is no
            `validation_data`.
        batch_size: Samples a step for arrays; 32, as in `fit`. The last batch of a pass may be smaller.
        shuffle: Whether arrays, and the batches of a PyDataset, are shuffled in each pass; True, as in `fit`.
        sample_weight: The weight of each sample, for arrays; a structure like y for several outputs.
        class_weight: The weight of each class, by its number, in training only; 1 where it is not named.
        steps_per_epoch: Steps that make an epoch, which goes on in the data where the last one ended; by default one
            pass. Data that does not know its length needs it.

    Attributes:
        model: The model.
        warnings: What the user should know with an answer.

    Raises:
        InvalidArgumentError: The data is empty, does not fit together or can be iterated once only, or a number cannot
            be used.
        UnsupportedProblemError: The model is not compiled or cannot be built, or its optimizer has no learning rate
            that can be set, such as a LearningRateSchedule.

    Example:
        >>> x = np.linspace(-1, 1, 64).reshape(-1, 1)
        >>> model = keras.Sequential([keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.1), loss="mse")
        >>> problem = KerasTrainable(model, x, 2 * x, batch_size=16)
        >>> problem.steps_per_epoch
        4
        >>> losses = problem.train(np.full(4, 0.5))["loss"]
        >>> bool(losses[-1] < losses[0])
        True
    """

    framework = "keras"

    def __init__(
        self,
        model: Any,
        x: Any,
        y: Any = None,
        *,
        validation_data: Any = None,
        validation_split: float = 0.0,
        batch_size: int | None = None,
        shuffle: bool = True,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        steps_per_epoch: int | None = None,
    ) -> None:
        checks.check_model(model)
        steps = None if steps_per_epoch is None else positive_integer("steps_per_epoch", steps_per_epoch)
        self.model = model
        self.warnings: list[str] = []
        self._source, self._validation = source_of(
            (x, y, sample_weight),
            validation_data,
            validation_split=validation_split,
            batch_size=None if batch_size is None else positive_integer("batch_size", batch_size),
            shuffle=shuffle,
            class_weight=class_weight,
            steps=steps,
        )
        for source in (self._source, self._validation):
            if source is not None and not isinstance(source, Samples) and source.warning is not None:
                self.warnings.append(source.warning)
        self.steps_per_epoch = steps or cast("int", self._source.length)
        self._place = Place()
        self._take_model()
        self._rate = float(str(keras.ops.convert_to_numpy(model.optimizer.learning_rate)))

    def _take_model(self) -> None:
        """Make all that refers to the inside of the model."""
        model = self.model
        checks.build(model, self._source.first())
        self._generators = Generators()
        self._variables = _distinct([*model.variables, *model.optimizer.variables, *model.metrics_variables])
        self._loop = loop_for(model, self._source.form)
        self._test_loop = None if self._validation is None else loop_for(model, self._validation.form)

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what refers to the inside of the model, which is built anew in another process."""
        inside = ("_generators", "_variables", "_loop", "_test_loop")
        return {name: value for name, value in self.__dict__.items() if name not in inside}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a model that was built anew."""
        self.__dict__.update(state)
        self._take_model()

    @property
    def learning_rate(self) -> float:
        """The rate that the user has compiled the model with."""
        return self._rate

    @property
    def evaluation_steps(self) -> float:
        """What an evaluation costs in training steps: a forward pass takes a third of a step."""
        return 0.0 if self._validation is None else self._validation.num_samples / self._source.batch_samples / 3

    def begin(self, learning_rate: float, epochs: float, seed: int) -> None:
        """Begin a fresh training: seed the shuffling and every seed generator of the model, and start the data."""
        del learning_rate, epochs
        seed = seed_integer(seed)
        self._generators.seed(seed)
        for number, variable in enumerate(self._variables):
            if variable.name == "seed_generator_state":
                variable.assign(np.array([derived(seed, number), 0]))
        self._place = Place(seed)

    def describe(self) -> dict[str, str | int | float]:
        """Return what makes this problem this problem: shapes and settings, but no weights and no rate."""
        return checks.describe(self.model, self._source, self._validation)

    def train(self, learning_rates: npt.ArrayLike) -> dict[str, FloatArray]:
        """Make one update per rate; return the loss of each, and each metric as compiled.

        Raises:
            InvalidArgumentError: A rate is negative or not finite, or the data gives no batch.
            UnsupportedProblemError: The model's `train_step` reports no loss.
        """
        rates = step_rates(learning_rates)
        pieces, place = self._source.take(self._place, len(rates))
        with self._generators.own():
            report = self._loop.train(pieces, rates)
        self._place = place
        return report

    def evaluate(self) -> dict[str, float]:
        """Return the validation loss and metrics, "val_…", as `model.evaluate` does; leaves everything as it was."""
        return self._evaluated(lambda loop, pieces: loop.evaluate(pieces))

    def _evaluated(self, evaluate: Callable[[Any, Any], Mapping[str, Any]]) -> dict[str, Any]:
        if self._validation is None or self._test_loop is None:
            return {}
        states = self._generators.states()
        try:
            with self._generators.own():
                values = evaluate(self._test_loop, self._validation.all())
        finally:
            self._generators.set(states)
        return {f"val_{name}": value for name, value in values.items()}

    def first_bad_sample(self, part: Part) -> str | None:
        """Say which sample of the training or the validation data is the first that holds NaN or infinity, if any.

        The number is the place in x, y or the data set, or in a pass over a `tf.data.Dataset`; none is told where each
        pass over that has another order.
        """
        source = self._source if part == "training" else self._validation
        return None if source is None else source.first_bad_sample(f"the {part} data")

    @property
    def dimensions(self) -> Dimensions:
        """How large the problem is, which decides whether copies of it are worth being trained in one program."""
        shapes = [tuple(it.shape) for it in self.model.trainable_variables]
        parameters, is_dense = sum(math.prod(shape) for shape in shapes), all(len(shape) <= 2 for shape in shapes)
        framework = f"keras on {keras.config.backend()}"
        return Dimensions(framework, device_in_use(), parameters, float(self._source.batch_samples), is_dense)

    def stack(self, snapshots: Sequence[KerasSnapshot]) -> Stack:
        """Return copies of the problem that are trained in one program, each from one of these snapshots.

        Raises:
            UnsupportedProblemError: The backend is not JAX, or JAX cannot batch the model's training step.
        """
        loop: Any = self._loop
        if not hasattr(loop, "train_stacked"):
            raise UnsupportedProblemError(
                f"Keras on {keras.config.backend()} trains variables in place, and only on JAX as a pure function"
            )
        from learnrate.adapters._jax_stack import CompiledStack

        carries: list[Any] = []
        for at, one in enumerate(snapshots):
            if at == 0 or one is not snapshots[at - 1]:
                self.restore(one)
            carries.append(loop.carry())

        def train(carry: Any, rates: FloatArray) -> tuple[Any, dict[str, FloatArray]]:
            pieces, place = self._source.take(self._place, len(rates))
            with self._generators.own():
                carry, report = loop.train_stacked(carry, pieces, rates)
            self._place = place
            return carry, report

        def evaluate(carry: Any) -> dict[str, FloatArray]:
            return self._evaluated(lambda test_loop, pieces: test_loop.evaluate_stacked(carry, pieces))

        def snapshot(carry: Any) -> KerasSnapshot:
            loop.put(carry)
            return self.snapshot()

        stack = CompiledStack(carries, train, evaluate, snapshot)
        loop.check_stack(stack.carry, self._source.take(self._place, 1)[0][0])
        return stack

    def snapshot(self) -> KerasSnapshot:
        """Return a copy of weights, optimizer, metrics, seed generators and place."""
        return KerasSnapshot(values_of(self._variables), self._generators.states(), self._place)

    def restore(self, snapshot: KerasSnapshot) -> None:
        """Put everything back, bit for bit, in the same variables.

        Raises:
            InvalidArgumentError: The snapshot is of another problem.
        """
        came: Any = snapshot
        if not isinstance(came, KerasSnapshot):
            raise InvalidArgumentError(
                f"cannot restore a {type(came).__name__}: pass what snapshot() or load() returned, or answer.best, "
                f"which an answer read from JSON does not have"
            )
        self._check_shapes(snapshot.variables, "the snapshot")
        assign(self._variables, snapshot.variables)
        self._generators.set(snapshot.random)
        self._place = snapshot.place

    def save(self, snapshot: KerasSnapshot, path: Path) -> None:
        """Write a snapshot as safetensors, each variable under its number."""
        from safetensors.numpy import save_file

        tensors = {f"variable {at}": value for at, value in enumerate(snapshot.variables)}
        tensors |= {f"random {name}": value for name, value in snapshot.random.items()}
        header = json.dumps({"kind": "keras", "place": snapshot.place})
        partial = Path(path).with_name(Path(path).name + ".partial")
        save_file({name: np.array(it, order="C") for name, it in tensors.items()}, partial, {"learnrate": header})
        partial.replace(path)

    def load(self, path: Path) -> KerasSnapshot:
        """Read a snapshot that `save` wrote.

        Raises:
            InvalidArgumentError: The file is something else, or of another problem.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="np") as file:
                place = json.loads((file.metadata() or {})["learnrate"])["place"]
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a dict
        except (SafetensorError, KeyError, ValueError) as error:
            raise InvalidArgumentError(f"{path} is not a snapshot that learnrate wrote: {error!r}.") from error
        several = [tensors[name] for at in range(len(tensors)) if (name := f"variable {at}") in tensors]
        self._check_shapes(several, str(path))
        known = {name.removeprefix("random "): it for name, it in tensors.items() if name.startswith("random ")}
        return KerasSnapshot(several, known, Place(*place))

    def _check_shapes(self, values: list[Array], words: str) -> None:
        if [it.shape for it in values] != [tuple(it.shape) for it in self._variables]:
            raise InvalidArgumentError(f"{words} is of another problem: its variables have other numbers or shapes.")


def _distinct(variables: list[Any]) -> list[Any]:
    return list({id(variable): variable for variable in variables}.values())
