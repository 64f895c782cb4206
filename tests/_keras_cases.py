"""What KerasTrainable promises, in the backend that KERAS_BACKEND names; test_keras.py runs this for each of them."""

from __future__ import annotations

import random

import keras
import numpy as np
import pytest

import learnrate
from _decay import assert_the_fall_is_one_training
from learnrate.adapters.keras import KerasTrainable, learning_rate_schedule, schedule_from
from learnrate.errors import InvalidArgumentError, LearnrateError, UnsupportedProblemError
from learnrate.testing import check_trainable

BACKEND = keras.config.backend()
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(42, 6, 6, 1)).astype("float32")
Y = RANDOM.integers(0, 3, 42)
WEIGHTS = RANDOM.uniform(0.5, 2, 42).astype("float32")
layers = keras.layers


def dense(optimizer=None, *, metrics=("accuracy",), built=True):
    first = [keras.Input((6, 6, 1))] if built else []
    model = keras.Sequential([*first, layers.Flatten(), layers.Dense(8, activation="relu"), layers.Dense(3)])
    return compiled(model, optimizer, metrics=list(metrics))


def conv(optimizer=None):
    body = [layers.Conv2D(3, 3), layers.BatchNormalization(), layers.Dropout(0.3, seed=1), layers.Flatten()]
    return compiled(keras.Sequential([keras.Input((6, 6, 1)), *body, layers.Dense(3)]), optimizer)


def compiled(model, optimizer=None, **settings):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.Adam(1e-2), loss, **settings)
    return model


def batches(x=X, y=Y, size=8):
    return [(x[at : at + size], y[at : at + size]) for at in range(0, len(y), size)]


def one_by_one(model, rates, data, **settings):
    """The plain, slow reference."""
    reports = []
    for at, rate in enumerate(rates):
        model.optimizer.learning_rate.assign(rate)
        reports.append(model.train_on_batch(*data[at % len(data)], return_dict=True, **settings))
    return {name: np.array([report[name] for report in reports]) for name in reports[0]}


def everything(model):
    """All of a model's variables, and the user's own random generators."""
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    numbers = [np.array(keras.ops.convert_to_numpy(it)).tolist() for it in variables]
    return numbers, random.getstate(), repr(np.random.get_state(legacy=False))  # noqa: NPY002  # the global one


@pytest.mark.parametrize("make", [dense, conv])
def test_it_keeps_what_the_verbs_rely_on(make):
    check_trainable(KerasTrainable(make(), X, Y, validation_split=0.25, batch_size=8, sample_weight=WEIGHTS))


def test_the_fall_that_select_chooses_is_one_training_bit_for_bit():
    assert_the_fall_is_one_training(KerasTrainable(conv(), X, Y, validation_data=(X[:20], Y[:20]), batch_size=8))


@pytest.mark.parametrize("make", [dense, conv])
def test_a_block_of_steps_equals_train_on_batch_bit_for_bit(make):
    model = make()
    problem = KerasTrainable(model, X, Y, batch_size=8, shuffle=False)
    start = problem.snapshot()
    rates = np.linspace(0.001, 0.05, 2 * problem.steps_per_epoch)
    found = problem.train(rates)
    weights = [np.array(it) for it in model.get_weights()]
    problem.restore(start)
    expected = one_by_one(model, rates, batches())
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    for one, other in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_goes_on_as_if_it_had_never_met_us_also_after_an_exception():
    keras.utils.set_random_seed(3)
    model, data = conv(), batches()
    one_by_one(model, [0.01] * 3, data)
    problem = KerasTrainable(model, X, Y, validation_data=(X[:9], Y[:9]), batch_size=16)
    before = everything(model)
    start = problem.snapshot()
    expected = one_by_one(model, [0.01] * 6, data)
    problem.restore(start)
    assert everything(model) == before
    learnrate.sweep(problem, [1e-3, 1e-1], epochs=1)
    assert everything(model) == before

    class BreakOffError(Exception):
        pass

    def on_event(event):
        if event.kind.value == "epoch":
            raise BreakOffError

    with pytest.raises(BreakOffError):
        learnrate.sweep(problem, [1e-2, 1e-1], epochs=1, on_event=on_event)
    assert everything(model) == before
    np.testing.assert_array_equal(one_by_one(model, [0.01] * 6, data)["loss"], expected["loss"])


def test_evaluate_is_keras_own_and_changes_nothing():
    model = conv()
    problem = KerasTrainable(model, X, Y, validation_data=(X[:21], Y[:21], WEIGHTS[:21]), batch_size=8)
    problem.train(np.full(6, 0.01))
    before = everything(model)
    found = problem.evaluate()
    assert everything(model) == before
    expected = model.evaluate(X[:21], Y[:21], sample_weight=WEIGHTS[:21], batch_size=8, verbose=0, return_dict=True)
    assert found == {f"val_{name}": pytest.approx(value, rel=1e-6) for name, value in expected.items()}
    assert problem.evaluation_steps == pytest.approx(21 / 7 / 3)


class Rows(keras.utils.PyDataset):
    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng(7)

    def __len__(self):
        return 6

    def __getitem__(self, at):
        x, y = batches()[at]
        return x + self.rng.normal(size=x.shape).astype("float32"), y


def noisy_loader():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    return torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)


def dataset():
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)


# What gives the batches is the same code in each backend, and PyTorch's compiles nothing.
KINDS = {"tf.data": dataset} | ({"PyDataset": Rows, "DataLoader": noisy_loader} if BACKEND == "torch" else {})


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_batches_of_every_kind_keep_what_the_verbs_rely_on(make):
    problem = KerasTrainable(dense(metrics=()), make(), validation_data=make())
    assert problem.steps_per_epoch == 6
    assert not problem.warnings
    check_trainable(problem)


def test_batches_from_elsewhere_train_as_arrays_do():
    runs = []
    for data in ({"x": X, "y": Y, "batch_size": 8, "shuffle": False}, {"x": dataset()}):
        keras.utils.set_random_seed(0)
        runs.append(KerasTrainable(dense(), **data).train(np.full(9, 0.01))["loss"])
    np.testing.assert_array_equal(*runs)


def test_a_dataset_that_shuffles_by_itself_is_kept_and_said():
    problem = KerasTrainable(dense(metrics=()), dataset().shuffle(42))
    assert "kept in memory" in problem.warnings[0]
    start = problem.snapshot()
    runs = []
    for seed in (0, 1):
        problem.restore(start)
        problem.begin(0.01, 2, seed)
        runs.append(problem.train(np.full(12, 0.01))["loss"])
    np.testing.assert_array_equal(*runs)


def test_an_endless_dataset_needs_an_epochs_length():
    with pytest.raises(InvalidArgumentError, match="pass steps_per_epoch="):
        KerasTrainable(dense(), dataset().repeat())
    problem = KerasTrainable(dense(), dataset().repeat(), steps_per_epoch=4)
    assert problem.steps_per_epoch == 4
    assert len(problem.train(np.full(9, 0.01))["loss"]) == 9


def test_an_epoch_takes_each_sample_once_in_an_order_that_follows_from_the_seed():
    sums = np.float32(2.0) ** np.arange(9)
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.1), lambda target, output: output - 0 * target)
    problem = KerasTrainable(model, sums.reshape(-1, 1), np.zeros(9), batch_size=2)

    def epoch(seed):
        problem.begin(0.1, 1, seed)
        means = problem.train(np.zeros(5))["loss"]
        return means * [2, 2, 2, 2, 1]

    one = epoch(1)
    assert one.sum() == sums.sum()
    assert not np.array_equal(one, epoch(2))
    assert np.array_equal(one, epoch(1))


def test_weights_of_classes_and_of_samples_are_keras_own():
    weights = {0: 1.0, 1: 3.0, 2: 0.5}
    rates = np.full(7, 0.01)
    for settings in ({"class_weight": weights}, {"sample_weight": np.array([weights[it] for it in Y])}):
        keras.utils.set_random_seed(0)
        model = dense()
        problem = KerasTrainable(model, X, Y, batch_size=8, shuffle=False, **settings)
        start = problem.snapshot()
        found = problem.train(rates)["loss"]
        problem.restore(start)
        expected = one_by_one(model, rates, batches(), class_weight=weights)["loss"]
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(InvalidArgumentError, match="both given"):
        KerasTrainable(dense(), X, Y, sample_weight=WEIGHTS, class_weight=weights)


def test_several_inputs_and_outputs_with_weights_for_each():
    left, right = keras.Input((6, 6, 1), name="left"), keras.Input((2,), name="right")
    joined = layers.Concatenate()([layers.Flatten()(left), right])
    outputs = {"kind": layers.Dense(3, name="kind")(joined), "size": layers.Dense(1, name="size")(joined)}
    model = keras.Model({"left": left, "right": right}, outputs)
    losses = {"kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "size": "mse"}
    model.compile("adam", losses, metrics={"kind": ["accuracy"]})
    x = {"left": X, "right": RANDOM.normal(size=(42, 2))}
    y = {"kind": Y, "size": RANDOM.normal(size=(42, 1))}
    problem = KerasTrainable(model, x, y, validation_split=0.2, batch_size=8, sample_weight=WEIGHTS)
    report = problem.train(np.full(5, 0.01))
    assert {"loss", "kind_loss", "size_loss", "kind_accuracy"} <= set(report)
    np.testing.assert_allclose(report["loss"], report["kind_loss"] + report["size_loss"], rtol=1e-5)
    assert {"val_loss", "val_kind_loss", "val_size_loss", "val_kind_accuracy"} <= set(problem.evaluate())


class OwnStep(keras.Model):
    """Doubles the gradient step's loss, in the words of each backend."""

    def __init__(self):
        super().__init__()
        self.layer = layers.Dense(3)

    def call(self, x):
        return self.layer(keras.ops.reshape(x, (-1, 36)))

    if BACKEND == "jax":

        def train_step(self, state, data):
            logs, state = super().train_step(state, data)
            return {"loss": 2 * logs["loss"], "twice": 2 * keras.ops.ones(())}, state
    else:

        def train_step(self, data):
            return {"loss": 2 * super().train_step(data)["loss"], "twice": 2 * keras.ops.ones(())}


def test_a_models_own_train_step_is_called_and_it_need_not_be_built():
    model = compiled(OwnStep(), keras.optimizers.SGD(0.1))
    problem = KerasTrainable(model, X, Y, batch_size=8, shuffle=False)
    start = problem.snapshot()
    found = problem.train(np.full(6, 0.01))
    problem.restore(start)
    np.testing.assert_array_equal(found["loss"], one_by_one(model, [0.01] * 6, batches())["loss"])
    assert found["twice"].tolist() == [2.0] * 6


def test_eager_models_train_alike():
    runs = []
    for eager in (False, True):
        keras.utils.set_random_seed(0)
        model = dense()
        compiled(model, keras.optimizers.SGD(0.1), run_eagerly=eager)
        problem = KerasTrainable(model, X, Y, validation_split=0.2, batch_size=8, shuffle=False)
        runs.append((problem.train(np.full(7, 0.05))["loss"], problem.evaluate()["val_loss"]))
    np.testing.assert_allclose(runs[0][0], runs[1][0], rtol=1e-5)
    assert runs[0][1] == pytest.approx(runs[1][1], rel=1e-5)


def test_a_snapshot_survives_a_file_and_is_refused_elsewhere(tmp_path):
    problem = KerasTrainable(conv(), X, Y, batch_size=8)
    problem.begin(0.1, 1, 5)
    problem.train(np.full(4, 0.01))
    snapshot = problem.snapshot()
    problem.save(snapshot, tmp_path / "here")
    loaded = problem.load(tmp_path / "here")
    assert [it.name for it in tmp_path.iterdir()] == ["here"]
    assert loaded.place == snapshot.place
    for one, other in zip(snapshot.variables, loaded.variables, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    other = KerasTrainable(dense(), X, Y)
    with pytest.raises(InvalidArgumentError, match="another problem"):
        other.load(tmp_path / "here")
    with pytest.raises(InvalidArgumentError, match="another problem"):
        other.restore(snapshot)
    (tmp_path / "there").write_bytes(b"nothing of ours")
    with pytest.raises(InvalidArgumentError, match="not a snapshot"):
        problem.load(tmp_path / "there")


def test_a_snapshot_outlives_the_users_own_training():
    model = dense()
    problem = KerasTrainable(model, X, Y, batch_size=8)
    snapshot = problem.snapshot()
    problem.restore(snapshot)
    before = problem.train(np.full(6, 0.01))["loss"]
    problem.restore(snapshot)
    model.fit(X, Y, batch_size=8, epochs=1, verbose=0)  # which gives the arrays of its variables away
    problem.restore(snapshot)
    np.testing.assert_array_equal(problem.train(np.full(6, 0.01))["loss"], before)


def test_many_rates_in_one_program_are_those_of_separate_trainings_on_jax_and_refused_elsewhere():
    rates, call = [1e-4, 1e-2, 1e30], {"epochs": 2, "vectorized": True}
    problem = KerasTrainable(dense(), X, Y, validation_data=(X[:12], Y[:12]), batch_size=8)
    before = everything(problem.model)
    if BACKEND != "jax":
        with pytest.raises(UnsupportedProblemError, match=f"Keras on {BACKEND} trains variables in place"):
            learnrate.sweep(problem, rates, **call)
        assert everything(problem.model) == before
        return
    answer = learnrate.sweep(problem, rates, **call)
    assert everything(problem.model) == before
    apart = learnrate.sweep(problem, rates, **call | {"vectorized": False})
    assert (answer.cost, answer.learning_rate, answer.verdict) == (apart.cost, apart.learning_rate, apart.verdict)
    for one, other in zip(sorted(answer.trials, key=lambda trial: trial.number), apart.trials, strict=True):
        assert (one.state, one.epochs) == (other.state, other.epochs)
        for name in ("loss", "val_loss")[: 2 if one.epochs == 2 else 0]:
            np.testing.assert_allclose(one.curve.values(name), other.curve.values(name), rtol=1e-5)
    problem.restore(answer.best)
    assert problem.evaluate()["val_loss"] == pytest.approx(answer.value, rel=1e-6)


def test_the_verbs_answer():
    problem = KerasTrainable(dense(keras.optimizers.SGD(0.05)), X, Y, validation_split=0.25, batch_size=4)
    assert problem.learning_rate == 0.05
    assert learnrate.range_test(problem, num_steps=60).cliff is not None
    answer = learnrate.select(problem, epochs=2, seed=0)
    assert answer.trials
    problem.restore(answer.best)
    assert problem.evaluate()["val_loss"] == pytest.approx(answer.value)


@pytest.mark.parametrize("maker", ["cosine", "triangular2", "exponential"])
def test_a_schedule_of_ours_is_one_of_keras_also_inside_a_compiled_fit(maker):
    ours = getattr(learnrate.schedules, maker)(0.3, 12, num_epochs=3)
    theirs = learning_rate_schedule(ours)
    found = [float(keras.ops.convert_to_numpy(theirs(step))) for step in range(15)]
    np.testing.assert_allclose(found, ours(np.arange(15)), rtol=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(theirs))
    assert again.get_config() == theirs.get_config()
    model = dense(keras.optimizers.SGD(theirs))
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    compiled(twin, keras.optimizers.SGD(0.1))
    model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    one_by_one(twin, ours.values(), batches())
    for one, other in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_schedule_of_keras_is_one_of_ours_scaled_to_the_peak():
    decay = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.2, 0.1])
    maker = schedule_from(decay, steps=4)
    np.testing.assert_allclose(maker(1.0, 8)(np.arange(8)), [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5], rtol=1e-6)
    problem = KerasTrainable(dense(), X, Y, batch_size=16)
    assert learnrate.sweep(problem, [0.01], epochs=1, schedule=maker).trials
    for wrong in (0.1, learnrate.schedules.cosine):
        with pytest.raises(InvalidArgumentError, match=r"keras\.optimizers\.schedules"):
            schedule_from(wrong)
    with pytest.raises(InvalidArgumentError, match=r"learnrate\.schedules"):
        learning_rate_schedule(decay)


SIZES = RANDOM.normal(size=(42, 1)).astype("float32")


def holding_nan(array, place):
    other = array.copy()
    other[place] = np.nan
    return other


def sized(loss="mse"):
    model = keras.Sequential([keras.Input((6, 6, 1)), layers.Flatten(), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-3), loss)
    return model


def sweep(problem):
    return learnrate.sweep(problem, [1e-4, 1e-3], epochs=2)


class Pairs(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.pairs = batches(x, y)

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, at):
        return self.pairs[at]


def pairs_dataset(x, y):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(8)


def pairs_loader(x, y):
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)


PAIRS = {"arrays": lambda x, y: (x, y), "tf.data": pairs_dataset, "PyDataset": Pairs, "DataLoader": pairs_loader}


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("part", ["feature", "target"])
def test_the_first_bad_sample_is_named_by_its_number_in_data_of_every_kind(kind, part):
    bad = (holding_nan(X, [37, 40]), SIZES) if part == "feature" else (X, holding_nan(SIZES, [37, 40]))
    problem = KerasTrainable(sized(), X, SIZES, validation_data=PAIRS[kind](*bad))
    with pytest.raises(UnsupportedProblemError, match="val_loss is NaN before any training: sample 37 of the valid"):
        sweep(problem)
    assert problem.first_bad_sample("training") is None
    problem = KerasTrainable(sized(), *(bad if kind == "arrays" else [PAIRS[kind](*bad)]))
    assert problem.first_bad_sample("training").startswith("sample 37 of the training data, counted from 0,")
    assert problem.first_bad_sample("validation") is None


def test_a_training_sample_that_makes_the_first_loss_nan_ends_the_verb():
    with pytest.raises(UnsupportedProblemError, match="before any training: sample 37 of the training data"):
        sweep(KerasTrainable(sized(), holding_nan(X, 37), SIZES, batch_size=42))


def test_a_sample_that_was_split_off_has_its_number_in_what_was_passed():
    with pytest.raises(UnsupportedProblemError, match="sample 37 of x and y, counted from 0"):
        sweep(KerasTrainable(sized(), X, holding_nan(SIZES, 37), validation_split=0.25))


def test_where_no_sample_is_bad_the_hint_is_general():
    problem = KerasTrainable(sized(lambda target, output: (output - target) * np.nan), X, SIZES, validation_split=0.25)
    with pytest.raises(UnsupportedProblemError, match="look for NaN in the data and in the loss"):
        sweep(problem)


def test_no_number_is_told_where_a_dataset_has_another_order_each_time():
    tf = pytest.importorskip("tensorflow")
    shuffled = tf.data.Dataset.from_tensor_slices((holding_nan(X, 37), SIZES)).shuffle(42).batch(8)
    with pytest.raises(UnsupportedProblemError, match="training: a sample of the validation data holds NaN"):
        sweep(KerasTrainable(sized(), X, SIZES, validation_data=shuffled))


def test_a_dataset_without_an_end_is_looked_at_for_an_epoch():
    endless = pairs_dataset(holding_nan(X, 37), SIZES).repeat()
    assert KerasTrainable(sized(), endless, steps_per_epoch=4).first_bad_sample("training") is None
    assert "sample 37" in KerasTrainable(sized(), endless, steps_per_epoch=5).first_bad_sample("training")


@pytest.mark.parametrize("kind", PAIRS if BACKEND == "torch" else ["tf.data"])  # as KINDS above
def test_looking_for_a_bad_sample_changes_nothing(kind):
    bad = PAIRS[kind](holding_nan(X, 37), Y)

    def losses(*, looks):
        keras.utils.set_random_seed(0)
        problem = KerasTrainable(tolerant(), *(bad if kind == "arrays" else [bad]), validation_data=bad)
        problem.begin(0.01, 1, 0)
        first = problem.train(np.full(2, 0.01))["loss"]
        if looks:
            before = everything(problem.model)
            assert problem.first_bad_sample("training").startswith("sample 37")
            assert problem.first_bad_sample("validation").startswith("sample 37")
            assert everything(problem.model) == before
        return [*first, *problem.train(np.full(9, 0.01))["loss"]]

    assert losses(looks=True) == losses(looks=False)


class WithoutNan(layers.Layer):
    def call(self, inputs):
        return keras.ops.where(keras.ops.isnan(inputs), 0.0, inputs)


def tolerant():
    return compiled(keras.Sequential([keras.Input((6, 6, 1)), WithoutNan(), layers.Flatten(), layers.Dense(3)]))


def uncompiled():
    return keras.Sequential([keras.Input((6, 6, 1)), layers.Dense(3)])


def frozen():
    model = dense()
    model.trainable = False
    return compiled(model)


class Silent(OwnStep):
    def train_step(self, *arguments):
        return ({}, arguments[0]) if BACKEND == "jax" else {}


SCHEDULE = keras.optimizers.schedules.CosineDecay(0.1, 10)


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (uncompiled, {}, "not compiled"),
        (lambda: 3, {}, "compiled keras.Model"),
        (lambda: dense(keras.optimizers.SGD(SCHEDULE)), {}, "schedule_from"),
        (lambda: dense(keras.optimizers.SGD(lambda: 0.1)), {}, "decides the rate by itself"),
        (frozen, {}, "no trainable weight"),
        (dense, {"x": X[:, :3]}, "cannot be built from a batch|expected"),
        (dense, {"x": X[:0], "y": Y[:0]}, "empty"),
        (dense, {"y": Y[:5]}, "x 42, y 5"),
        (dense, {"x": iter([X]), "y": None}, "once only"),
        (dense, {"x": (it for it in batches()), "y": None}, "once only"),
        (dense, {"x": {1, 2}}, "x is a set"),
        (dense, {"x": [1, 2, 3]}, "x holds a int"),
        (dense, {"x": None}, "x is a NoneType"),
        (dense, {"x": np.array([object()] * 42)}, "arrays of numbers"),
        (dense, {"validation_data": X}, "validation_data is a ndarray"),
        (dense, {"validation_data": (X,)}, "a tuple of 1 parts"),
        (dense, {"validation_data": (X[:0], Y[:0])}, "empty"),
        (dense, {"validation_data": iter(batches())}, "validation_data is a"),
        (dense, {"validation_split": 1.0}, "from 0 to below 1"),
        (dense, {"validation_split": 0.999}, "none to train on"),
        (dense, {"batch_size": 0}, "batch_size is 0"),
        (dense, {"shuffle": "batch"}, "shuffle is 'batch'"),
        (dense, {"steps_per_epoch": 0}, "steps_per_epoch is 0"),
        (dense, {"x": Rows(), "y": None, "batch_size": 4}, "leave batch_size out"),
        (dense, {"x": Rows()}, "leave y out"),
        (dense, {"x": Rows(), "y": None, "validation_split": 0.1}, "is for arrays"),
    ],
)
def test_what_cannot_be_used_is_refused_before_any_training(make, settings, message):
    with pytest.raises(LearnrateError, match=message):
        KerasTrainable(make(), **{"x": X, "y": Y, **settings})


def test_a_train_step_without_a_loss_and_a_rate_below_0_are_refused():
    with pytest.raises(UnsupportedProblemError, match="with the loss"):
        KerasTrainable(compiled(Silent()), X, Y).train([0.1])
    with pytest.raises(InvalidArgumentError, match="0 or more"):
        KerasTrainable(dense(), X, Y).train([-0.1])
