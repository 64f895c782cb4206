"""JaxTrainable trains as a plain loop of optax updates would, and puts everything back."""

from __future__ import annotations

import functools
import math
import random

import numpy as np
import pytest

import learnrate
from _decay import assert_the_fall_is_one_training
from learnrate.errors import InvalidArgumentError, UnsupportedProblemError
from learnrate.testing import check_trainable

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402  # skipped where JAX is missing

from learnrate.adapters.jax import JaxTrainable, optax_schedule  # noqa: E402  # likewise

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(50, 3)).astype(np.float32)
Y = (X @ np.array([1.0, -2.0, 0.5]) + 0.1 * RANDOM.normal(size=50)).astype(np.float32)
PARAMS = {"w": np.zeros(3, np.float32), "b": np.zeros((), np.float32)}
BATCHES = [(X[at : at + 8], Y[at : at + 8]) for at in range(0, 50, 8)]  # the last one has 2 samples


def loss_fn(params, batch):
    inputs, targets = batch
    return jnp.mean((inputs @ params["w"] + params["b"] - targets) ** 2)


def dropout_loss(params, state, batch, key):
    inputs, targets = batch
    kept = inputs * jax.random.bernoulli(key, 0.8, inputs.shape)
    new_state = {"mean": 0.9 * state["mean"] + 0.1 * inputs.mean(0), "count": state["count"] + 1}
    return loss_fn(params, (kept - state["mean"], targets)), new_state


def dropout_problem(seed=0, **settings):
    state = {"mean": np.zeros(3, np.float32), "count": 0}
    key = jax.random.key(seed)
    return JaxTrainable(
        PARAMS, dropout_loss, optax.sgd, (X, Y), (X, Y), state=state, key=key, batch_size=10, **settings
    )


def same(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    "make",
    [
        lambda: JaxTrainable(PARAMS, loss_fn, optax.adamw, (X, Y), (X[:21], Y[:21]), batch_size=8),
        lambda: JaxTrainable(PARAMS, loss_fn, functools.partial(optax.sgd, momentum=0.9), BATCHES, BATCHES),
        lambda: dropout_problem(metrics={"mse": lambda params, state, batch: loss_fn(params, batch)}),
    ],
    ids=["arrays", "batches", "state"],
)
def test_it_keeps_what_the_verbs_rely_on(make):
    check_trainable(make())


def test_the_fall_that_select_chooses_is_one_training_bit_for_bit():
    assert_the_fall_is_one_training(dropout_problem())


def test_training_equals_a_plain_loop_of_optax_updates():
    factory = optax.adamw
    batches = BATCHES[:6]  # of one shape: an operation is compiled for each
    problem = JaxTrainable(PARAMS, loss_fn, factory, batches)
    rates = 0.05 * np.linspace(0.5, 1.5, len(batches))
    found = problem.train(rates)["loss"]
    params = jax.tree.map(jnp.asarray, PARAMS)
    opt_state = factory(0.1).init(params)
    expected = []
    for rate, batch in zip(rates, batches, strict=True):
        loss, gradients = jax.value_and_grad(loss_fn)(params, batch)
        updates, opt_state = factory(float(rate)).update(gradients, opt_state, params)
        params = optax.apply_updates(params, updates)
        expected.append(float(loss))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(problem.params["w"], params["w"], rtol=1e-6, atol=1e-6)


def test_an_epoch_takes_each_sample_once_in_an_order_that_follows_from_the_seed():
    def keep(params, batch):
        return jnp.sum(batch) + 0 * params

    problem = JaxTrainable(jnp.zeros(()), keep, optax.sgd, 2.0 ** np.arange(9), batch_size=2)
    assert problem.steps_per_epoch == 4

    def epoch(seed):
        problem.begin(0.1, 1, seed)
        return problem.train(np.full(4, 0.1))["loss"]

    one = epoch(1)
    members = [np.flatnonzero([int(total) >> bit & 1 for bit in range(9)]) for total in one]
    assert sorted(len(it) for it in members) == [2, 2, 2, 2]
    assert len(set(np.concatenate(members))) == 8
    assert not np.array_equal(one, problem.train(np.full(4, 0.1))["loss"])
    assert not np.array_equal(one, epoch(2))
    assert np.array_equal(one, epoch(1))


def test_blocks_of_every_length_are_compiled_once():
    traced = []

    def counting(params, batch):
        traced.append(1)
        return loss_fn(params, batch)

    problem = JaxTrainable(PARAMS, counting, optax.sgd, (X, Y), batch_size=2)
    problem.train([0.1])
    before = len(traced)
    for length in (2, 7, 15):
        problem.train(np.full(length, 0.01))
    assert len(traced) == before


def test_more_steps_than_a_block_are_the_same_steps():
    problem = JaxTrainable(PARAMS, loss_fn, optax.sgd, (X, Y), batch_size=1)
    start = problem.snapshot()
    rates = np.linspace(0.001, 0.01, 70)
    whole = problem.train(rates)["loss"]
    problem.restore(start)
    assert np.array_equal(whole, np.concatenate([problem.train(rates[:50])["loss"], problem.train(rates[50:])["loss"]]))


def test_validation_is_the_mean_over_the_samples_however_they_are_cut():
    expected = float(loss_fn({"w": np.ones(3, np.float32), "b": 0.0}, (X, Y)))
    params = {"w": np.ones(3, np.float32), "b": np.zeros((), np.float32)}
    for data in ((X, Y), BATCHES):
        problem = JaxTrainable(params, loss_fn, optax.sgd, (X, Y), data, batch_size=8)
        assert problem.evaluate() == {"val_loss": pytest.approx(expected, rel=1e-6)}
        assert problem.evaluation_steps == pytest.approx(50 / 8 / 3)
    assert JaxTrainable(params, loss_fn, optax.sgd, (X, Y)).evaluate() == {}


def test_state_and_dropout_follow_the_keys():
    problem = dropout_problem()
    start = problem.snapshot()
    runs = []
    for seed in (0, 1, 0):
        problem.restore(start)
        problem.begin(0.01, 1, seed)
        runs.append(problem.train(np.full(5, 0.01))["loss"])
    assert int(problem.state["count"]) == 5
    assert np.array_equal(runs[0], runs[2])
    assert not np.array_equal(runs[0], runs[1])


def test_a_key_alone_gives_random_numbers_without_a_state():
    def noisy(params, state, batch, key):
        assert state is None
        return loss_fn(params, batch) * (1 + 0.1 * jax.random.normal(key)), state

    problem = JaxTrainable(PARAMS, noisy, optax.sgd, BATCHES, key=jax.random.key(3))
    start = problem.snapshot()
    runs = []
    for seed in (0, 1, 0):
        problem.restore(start)
        problem.begin(0.01, 1, seed)
        runs.append(problem.train(np.full(3, 1e-9))["loss"])
    assert np.array_equal(runs[0], runs[2])
    assert not np.isclose(runs[0], runs[1]).any()


def test_a_metric_named_val_loss_replaces_the_loss_in_validation_alone():
    problem = JaxTrainable(PARAMS, loss_fn, optax.sgd, (X, Y), (X, Y), metrics={"val_loss": lambda params, batch: 7.0})
    assert problem.evaluate() == {"val_loss": pytest.approx(7.0)}
    assert set(problem.train([0.1])) == {"loss"}


def test_a_snapshot_survives_a_file_with_every_dtype(tmp_path):
    params = {"w": jnp.ones(3, jnp.bfloat16), "b": jnp.zeros(())}
    problem = JaxTrainable(params, loss_fn, optax.adam, (X, Y), key=None, batch_size=8)
    problem.begin(0.1, 1, 7)
    problem.train(np.full(4, 0.1))
    snapshot = problem.snapshot()
    problem.save(snapshot, tmp_path / "here")
    loaded = problem.load(tmp_path / "here")
    assert [it.name for it in tmp_path.iterdir()] == ["here"]
    assert same((snapshot.params, snapshot.opt_state), (loaded.params, loaded.opt_state))
    assert (loaded.step, jax.random.key_data(loaded.key).tolist()) == (4, jax.random.key_data(snapshot.key).tolist())
    with pytest.raises(InvalidArgumentError, match="another problem"):
        JaxTrainable(PARAMS, loss_fn, optax.sgd, (X, Y)).load(tmp_path / "here")
    (tmp_path / "other").write_bytes(b"nothing of ours")
    with pytest.raises(InvalidArgumentError, match="not a snapshot"):
        problem.load(tmp_path / "other")


def test_a_snapshot_of_another_problem_is_refused():
    with pytest.raises(InvalidArgumentError, match="another problem"):
        JaxTrainable(PARAMS, loss_fn, optax.sgd, (X, Y)).restore(dropout_problem().snapshot())


def test_losses_that_are_not_finite_come_as_they_are():
    problem = JaxTrainable(PARAMS, loss_fn, optax.sgd, (X, Y), (X, Y), batch_size=8)
    losses = problem.train(np.full(6, 1e20))["loss"]
    assert np.isfinite(losses[0])
    assert not np.isfinite(losses[2:]).any()
    assert not math.isfinite(problem.evaluate()["val_loss"])


def test_the_arrays_of_the_user_are_left_alone():
    own = jax.tree.map(jnp.asarray, PARAMS)
    problem = JaxTrainable(own, loss_fn, optax.sgd, (X, Y))
    problem.train([0.1])
    assert same(own, PARAMS)
    own["w"].delete()  # as a training step of the user's would that donates its arguments
    problem.train([0.1])


def test_select_answers_and_leaves_everything_as_found():
    problem = JaxTrainable(PARAMS, loss_fn, optax.sgd, (X, Y), (X, Y), batch_size=5)
    before = problem.snapshot()
    answer = learnrate.select(problem, epochs=5, seed=0)
    after = problem.snapshot()
    assert same((before.params, before.opt_state), (after.params, after.opt_state))
    assert before.step == after.step
    assert answer.learning_rate is not None
    problem.restore(answer.best)
    assert problem.evaluate()["val_loss"] < 0.1


def test_an_optax_schedule_gives_the_rates_of_ours_when_traced_too():
    for ours in (learnrate.schedules.cosine(0.3, 20, warmup_fraction=0.2), learnrate.schedules.constant(0.1, 3)):
        rate_at = jax.jit(optax_schedule(ours))
        found = [float(rate_at(step)) for step in range(ours.total_steps + 2)]
        np.testing.assert_allclose(found, ours(np.arange(ours.total_steps + 2)), rtol=1e-6)
    with pytest.raises(InvalidArgumentError, match=r"learnrate\.schedules"):
        optax_schedule(lambda step: 0.1)


def leaking(params, batch, kept=[]):  # noqa: B006  # the leak is what is tested
    kept.append(params["w"] * 2)
    return loss_fn(params, batch)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss_fn": lambda params, batch: params["w"]}, r"shape \(3,\): let it return a scalar"),
        ({"loss_fn": lambda params, batch: (loss_fn(params, batch), 0)}, "pass state= or key="),
        ({"loss_fn": lambda params, batch: loss_fn(params, batch) + np.random.default_rng().normal()}, "not pure"),
        ({"loss_fn": leaking}, "not pure: it keeps a value"),
        ({"loss_fn": lambda params, batch: float(loss_fn(params, batch))}, "cannot be compiled"),
        ({"loss_fn": lambda params, state, batch, key: loss_fn(params, batch), "key": 0}, "pass one such as"),
        ({"loss_fn": lambda *arguments: loss_fn(arguments[0], arguments[2]), "state": {"n": 0}}, "new_state"),
        ({"loss_fn": lambda *them: (loss_fn(them[0], them[2]), {}), "state": {"n": 0}}, "all of the state"),
        ({"params": {}}, "no leaves"),
        ({"params": {"w": np.zeros(3, np.int32)}}, r"params\['w'\] is a ndarray of int32"),
        ({"optimizer": optax.sgd(0.1)}, "has its learning rate already"),
        ({"optimizer": lambda rate: None}, "takes rate, and no learning_rate"),
        ({"optimizer": lambda learning_rate: None}, "returned a NoneType"),
        ({"optimizer": lambda learning_rate: optax.sgd(float(learning_rate))}, "changes from step to step"),
        ({"train_data": (X[:0], Y[:0])}, "empty"),
        ({"train_data": []}, "gave no batch"),
        ({"train_data": {}}, "no array"),
        ({"train_data": (X, Y[:49])}, "leading axes of 50, 49"),
        ({"train_data": (X, 1.0)}, "a single number"),
        ({"train_data": "data"}, "JAX makes no arrays"),
        ({"train_data": iter(BATCHES)}, "once only"),
        ({"train_data": [*BATCHES, X]}, "one structure"),
        ({"validation_data": []}, "validation_data gave no batch"),
        ({"batch_size": 51}, "train_data has 50 samples"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"train_data": BATCHES, "batch_size": 8}, "comes in batches already"),
        ({"metrics": {"accuracy": 1}}, "pass a function"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_training(settings, message):
    given = {"params": PARAMS, "loss_fn": loss_fn, "optimizer": optax.sgd, "train_data": (X, Y)} | settings
    positional = [given.pop(name) for name in ("params", "loss_fn", "optimizer", "train_data")]
    with pytest.raises((InvalidArgumentError, UnsupportedProblemError), match=message):
        JaxTrainable(*positional, **given)


def test_an_error_of_the_loss_function_says_what_batch_it_was_given():
    with pytest.raises(KeyError) as caught:
        JaxTrainable(PARAMS, lambda params, batch: params["v"], optax.sgd, (X, Y))
    assert any("float32[32, 3]" in note for note in caught.value.__notes__)


def test_data_that_runs_short_later_is_an_error():
    data = list(BATCHES)
    problem = JaxTrainable(PARAMS, loss_fn, optax.sgd, data)
    del data[3:]
    with pytest.raises(InvalidArgumentError, match="gave 7 batches at first, and now only 3"):
        problem.train(np.full(7, 0.1))


class Shuffled:
    def __init__(self):
        self.random = np.random.default_rng(0)

    def __iter__(self):
        return iter([self.random.normal(size=3)])


def test_data_that_shuffles_itself_is_refused():
    with pytest.raises(InvalidArgumentError, match="shuffle=False"):
        JaxTrainable(PARAMS, loss_fn, optax.sgd, Shuffled())


@pytest.mark.parametrize("rates", [[-1.0], [math.nan], [], [[0.1]]])
def test_rates_that_cannot_be_used_are_refused(rates):
    with pytest.raises(InvalidArgumentError, match="learning rates are"):
        JaxTrainable(PARAMS, loss_fn, optax.sgd, (X, Y)).train(rates)


def test_it_says_what_makes_the_problem_itself():
    one = dropout_problem()
    assert one.describe() == dropout_problem().describe()
    assert one.describe() != dropout_problem(seed=1).describe()


# --- The first bad sample ---


def holding_nan(array, place):
    other = array.copy()
    other[place] = math.nan
    return other


def in_batches(*arrays):
    return [tuple(array[at : at + 8] for array in arrays) for at in range(0, len(arrays[0]), 8)]


SWEEP = functools.partial(learnrate.sweep, learning_rates=[0.01, 0.1], epochs=2)


@pytest.mark.parametrize("arranged", [lambda *arrays: arrays, in_batches], ids=["arrays", "batches"])
@pytest.mark.parametrize("arrays", [(holding_nan(X, (37, 1)), Y), (X, holding_nan(Y, 37))], ids=["feature", "target"])
def test_the_validation_sample_that_makes_the_metric_nan_before_training_is_named(arrays, arranged):
    with pytest.raises(UnsupportedProblemError, match="before any training: sample 37 of the validation data"):
        SWEEP(JaxTrainable(PARAMS, loss_fn, optax.sgd, BATCHES, arranged(*arrays)))


def test_the_training_sample_that_makes_the_first_loss_nan_is_named():
    with pytest.raises(UnsupportedProblemError, match="before any training: sample 37 of the training data"):
        SWEEP(JaxTrainable(PARAMS, loss_fn, optax.sgd, (X, holding_nan(Y, 37)), batch_size=50))
    with pytest.raises(UnsupportedProblemError, match="before any training: sample 3 of the training data"):
        SWEEP(JaxTrainable(PARAMS, loss_fn, optax.sgd, in_batches(holding_nan(X, 3), Y), BATCHES))


def test_where_no_sample_is_bad_the_hint_is_general():
    problem = JaxTrainable(PARAMS, lambda params, batch: loss_fn(params, batch) * jnp.nan, optax.sgd, (X, Y), (X, Y))
    with pytest.raises(UnsupportedProblemError, match="look for NaN in the data and in the loss"):
        SWEEP(problem)


def test_random_keys_and_half_precision_among_the_data_are_looked_past_and_into():
    def loss(params, batch):
        return jnp.mean(batch["x"] * params["b"])

    data = {"key": jax.random.split(jax.random.key(0), 50), "x": jnp.asarray(holding_nan(X, 3), jnp.bfloat16)}
    assert JaxTrainable(PARAMS, loss, optax.sgd, data).first_bad_sample("training").startswith("sample 3 of")


def global_states():
    torch = pytest.importorskip("torch")
    numpy_state = repr(np.random.get_state(legacy=False))  # noqa: NPY002  # the global one is what is watched
    return torch.get_rng_state().tolist(), numpy_state, random.getstate()


class Drawing:
    """The same batches each time, from something that draws from every global generator on the way."""

    def __init__(self, batches):
        self._batches = batches

    def __iter__(self):
        torch = pytest.importorskip("torch")
        for batch in self._batches:
            torch.rand(1)
            np.random.random()  # noqa: NPY002  # likewise
            random.random()  # noqa: S311  # likewise
            yield batch


def test_looking_for_a_bad_sample_changes_no_generator_and_no_training():
    def losses(*, looks):
        problem = JaxTrainable(PARAMS, tolerant_loss, optax.sgd, Drawing(in_batches(holding_nan(X, (37, 1)), Y)))
        problem.begin(0.01, 1, 0)
        first = problem.train(np.full(2, 0.01))["loss"]
        if looks:
            before = global_states()
            assert "sample 37 of the training data" in problem.first_bad_sample("training")
            assert global_states() == before
        return [*first, *problem.train(np.full(9, 0.01))["loss"]]

    assert losses(looks=True) == losses(looks=False)


def tolerant_loss(params, batch):
    inputs, targets = batch
    return loss_fn(params, (jnp.nan_to_num(inputs), targets))
