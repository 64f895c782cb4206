"""Where a loss is no number before training, the sample that holds NaN or infinity is named; nothing else changes."""

# The global generators are what users draw from:
# ruff: noqa: NPY002

from __future__ import annotations

import functools
import itertools
import math
import random

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import SGDRegressor
from sklearn.neural_network import MLPClassifier
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, SubsetRandomSampler, TensorDataset

import learnrate
from learnrate.adapters._bad_samples import first_bad_sample
from learnrate.adapters.sklearn import SklearnTrainable
from learnrate.adapters.torch import TorchTrainable
from learnrate.errors import InvalidArgumentError, UnsupportedProblemError
from learnrate.results import Verdict

X = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
Y = (X @ np.array([[1.0], [-2.0], [0.5]])).astype(np.float32)
HINT = "look for NaN in the data and in the loss"
SWEEP = functools.partial(learnrate.sweep, learning_rates=[0.001, 0.01], epochs=2)


def holding(array, place, value=math.nan):
    """The array with NaN, or another value, at a place."""
    other = array.copy()
    other[place] = value
    return other


def dataset(x=X, y=Y):
    return TensorDataset(torch.from_numpy(x), torch.from_numpy(y))


def batches(x=X, y=Y, size=8):
    return [(torch.from_numpy(x[at : at + size]), torch.from_numpy(y[at : at + size])) for at in range(0, len(x), size)]


def on(data, validation_data=None, loss_fn=nn.functional.mse_loss, **settings):
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    return TorchTrainable(
        model, torch.optim.SGD(model.parameters(), lr=0.01), loss_fn, data, validation_data, **settings
    )


def global_states():
    return random.getstate(), repr(np.random.get_state(legacy=False)), torch.get_rng_state().tolist()


# --- The search itself ---


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_the_first_is_the_smallest_number_however_the_samples_are_batched(sizes, seed):
    generator = np.random.default_rng(seed)
    total = sum(sizes)
    values = generator.choice([0.0, 1.0, math.nan, math.inf, -math.inf], (total, 2, 3), p=[0.5, 0.44, 0.02, 0.02, 0.02])
    weights = generator.choice([1.0, math.nan], total, p=[0.95, 0.05])
    cuts = np.cumsum(sizes)[:-1]
    found = first_bad_sample(zip(np.split(values, cuts), np.split(weights, cuts), strict=True))
    bad = [at for at in range(total) if not (np.isfinite(values[at]).all() and math.isfinite(weights[at]))]
    assert found == (bad[0] if bad else None)


def test_integers_and_text_are_never_bad_and_count_as_samples():
    text = np.array(["nan", "inf"])
    assert first_bad_sample([[np.arange(2), text], [text, np.array([0.0, math.nan])]]) == 3
    assert first_bad_sample([[np.arange(2), text]]) is None


# --- PyTorch: validation data ---


@pytest.mark.parametrize("verb", [functools.partial(learnrate.select, epochs=2), SWEEP])
@pytest.mark.parametrize(
    "bad",
    [
        batches(x=holding(X, (29, 1))),
        batches(y=holding(Y, (29, 0))),
        batches(y=holding(Y, (29, 0), -math.inf)),
        DataLoader(dataset(holding(X, (29, 1))), batch_size=8, shuffle=True),
        DataLoader(dataset(holding(X, (29, 1))), batch_sampler=[[7, 31], [30, 29], [8, 2]]),
        DataLoader(dataset(holding(X, (29, 1))), batch_size=8, shuffle=True, num_workers=1, persistent_workers=True),
    ],
    ids=["feature", "target", "infinite target", "shuffled", "own batches", "worker"],
)
def test_the_first_bad_validation_sample_is_named_by_its_number_in_the_data_set(verb, bad):
    with pytest.raises(UnsupportedProblemError, match="before any training: sample 29 of the validation data"):
        verb(on(batches(), bad))


def test_the_first_of_several_is_named_whatever_the_order_of_the_loader():
    bad = DataLoader(dataset(holding(X, [29, 4, 17])), batch_size=8, shuffle=True)
    assert on(batches(), bad).first_bad_sample("validation").startswith("sample 4 of")


def test_a_number_is_the_samples_where_batches_have_it_on_another_axis():
    bad = DataLoader(
        dataset(holding(X, (29, 1))), batch_size=8, collate_fn=lambda rows: torch.stack([x for x, _ in rows], dim=1)
    )
    problem = on(batches(), bad, lambda model, batch: model(batch.T).square().mean())
    assert problem.first_bad_sample("validation").startswith("sample 29 of")


def test_samples_that_a_sampler_leaves_out_are_not_blamed():
    kept = DataLoader(dataset(holding(X, 5)), batch_size=8, sampler=SubsetRandomSampler([1, 2, 9, 30]))
    assert on(batches(), kept).first_bad_sample("validation") is None


def test_dicts_arrays_and_half_precision_are_looked_into():
    half = torch.from_numpy(holding(X, (3, 0))).to(torch.bfloat16)
    assert (
        on(batches(), [{"a": [half], "b": torch.arange(40)}]).first_bad_sample("validation").startswith("sample 3 of")
    )
    assert on(batches(), [(X, holding(Y, 7))]).first_bad_sample("validation").startswith("sample 7 of")


def test_where_no_sample_is_bad_the_hint_is_general():
    with pytest.raises(UnsupportedProblemError, match=f"val_loss is NaN before any training: {HINT}"):
        SWEEP(on(batches(), batches(), lambda outputs, targets: (outputs - targets).mean() * math.nan))


def test_an_infinite_metric_that_no_sample_explains_may_become_a_number():
    def perplexity(outputs, targets):
        return torch.exp(400 * nn.functional.mse_loss(outputs, targets))

    problem = on(batches(), batches(), metrics={"val_perplexity": perplexity})
    assert math.isinf(problem.evaluate()["val_perplexity"])
    answer = learnrate.sweep(problem, [0.01, 0.1], epochs=8, metric="val_perplexity", mode="min")
    assert math.isfinite(answer.value)


# --- PyTorch: training data ---


VERBS = {
    "select": functools.partial(learnrate.select, epochs=2),
    "select by the training loss": functools.partial(learnrate.select, epochs=2, metric="loss"),
    "sweep": SWEEP,
    "sweep by the training loss": functools.partial(SWEEP, metric="loss"),
    "sweep in one program": functools.partial(SWEEP, metric="loss", vectorized=True),
    "range test": learnrate.range_test,
    "range test of seeds": functools.partial(learnrate.range_test, num_seeds=2, num_steps=10),
}


@pytest.mark.parametrize("verb", VERBS)
def test_training_data_whose_first_loss_is_no_number_ends_the_verb_and_names_the_sample(verb):
    loader = DataLoader(dataset(holding(X, (29, 1))), batch_size=40, shuffle=True)
    with pytest.raises(
        UnsupportedProblemError, match="loss is NaN or infinite before any training: sample 29 of the training data"
    ):
        VERBS[verb](on(loader))


def test_the_first_loss_of_a_training_counts_where_validation_data_is_sound():
    with pytest.raises(UnsupportedProblemError, match="sample 2 of the training data"):
        SWEEP(on(batches(y=holding(Y, 2, math.inf)), batches()))


def test_it_is_told_before_a_study_remembers_any_training_so_that_mended_data_goes_on(tmp_path):
    bad = batches(x=holding(X, (2, 1)))
    with pytest.raises(UnsupportedProblemError, match="sample 2 of the training data"):
        SWEEP(on(bad, batches()), study=tmp_path)
    answer = SWEEP(on(batches(), batches()), study=tmp_path)
    assert [trial.state.value for trial in answer.trials] == ["complete", "complete"]


def test_workers_that_train_tell_of_it_too():
    with pytest.raises(UnsupportedProblemError, match="sample 2 of the training data"):
        SWEEP(on(batches(x=holding(X, (2, 1))), batches()), engine=learnrate.LocalEngine(num_workers=2))


@pytest.mark.parametrize("verb", [functools.partial(learnrate.select, epochs=2), SWEEP])
def test_a_bad_sample_of_a_later_batch_is_named_beside_the_verdict(verb):
    answer = verb(on(batches(x=holding(X, (29, 1))), batches()))
    assert answer.verdict is Verdict.ALL_DIVERGED
    assert any("sample 29 of the training data, counted from 0, holds NaN" in it for it in answer.warnings)


def test_without_a_bad_sample_the_verdict_is_what_it_was():
    answer = SWEEP(on(batches(), loss_fn=lambda outputs, targets: (outputs - targets).mean() * math.nan))
    assert answer.verdict is Verdict.ALL_DIVERGED
    assert not any("holds NaN" in it for it in answer.warnings)


def test_targets_that_the_loss_leaves_out_are_no_reason_to_refuse_nor_is_a_rate_that_breaks_training():
    def masked(outputs, targets):
        known = targets.isfinite()
        return nn.functional.mse_loss(outputs[known], targets[known])

    bad = batches(y=holding(Y, [1, 20, 30]))
    answer = learnrate.sweep(on(bad, bad, masked), [0.01, 1e30], epochs=2)
    assert [trial.state.value for trial in answer.trials] == ["complete", "diverged"]


class Endless(IterableDataset):
    def __iter__(self):
        return ((torch.from_numpy(X[at % 40]), torch.from_numpy(Y[at % 40])) for at in itertools.count())


def test_data_without_an_end_is_looked_at_for_an_epoch():
    problem = on(DataLoader(Endless(), batch_size=8), steps_per_epoch=3)
    assert problem.first_bad_sample("training") is None


class Stream(IterableDataset):
    """Samples that come once."""

    def __init__(self):
        self.samples = iter(dataset(holding(X, (29, 1))))

    def __iter__(self):
        return self.samples


def test_training_data_that_goes_on_in_one_pass_is_left_alone():
    data = Stream()
    assert on(DataLoader(data, batch_size=8), steps_per_epoch=5).first_bad_sample("training") is None
    assert torch.equal(next(data.samples)[0], torch.from_numpy(X[0]))


def test_validation_data_that_an_evaluation_has_exhausted_names_no_sample():
    problem = on(batches(), DataLoader(Stream(), batch_size=8))
    assert math.isnan(problem.evaluate()["val_loss"])
    assert problem.first_bad_sample("validation") is None


LOADERS = {
    "list": lambda: batches(x=holding(X, (29, 1))),
    "shuffled": lambda: DataLoader(dataset(holding(X, (29, 1))), batch_size=8, shuffle=True),
    "workers": lambda: DataLoader(
        dataset(holding(X, (29, 1))), batch_size=8, shuffle=True, num_workers=1, persistent_workers=True
    ),
    "generator": lambda: DataLoader(
        dataset(holding(X, (29, 1))), batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(3)
    ),
}


@pytest.mark.parametrize("loader", LOADERS)
def test_looking_changes_neither_a_generator_nor_the_training_that_is_under_way(loader):
    def losses(*, looks):
        data = LOADERS[loader]()
        problem = on(data, data, lambda outputs, targets: nn.functional.l1_loss(outputs.nan_to_num(), targets))
        own = getattr(data, "generator", None) or torch.default_generator
        problem.begin(0.01, 1, 0)
        first = problem.train(np.full(2, 0.01))["loss"]
        if looks:
            before = global_states(), own.get_state().tolist()
            assert "sample 29 of the training data" in problem.first_bad_sample("training")
            assert "sample 29 of the validation data" in problem.first_bad_sample("validation")
            assert (global_states(), own.get_state().tolist()) == before
        return [*first, *problem.train(np.full(3, 0.01))["loss"], *problem.train(np.full(5, 0.01))["loss"]]

    assert losses(looks=True) == losses(looks=False)


# --- scikit-learn ---


def regressor(**settings):
    return SGDRegressor(learning_rate="constant", random_state=0, **settings)


NUMBERS = Y[:, 0].astype(np.float64)


@pytest.mark.parametrize(
    ("make", "y"),
    [
        (np.asarray, NUMBERS),
        (scipy.sparse.csr_matrix, NUMBERS),
        (lambda x: pd.DataFrame(x).convert_dtypes(), NUMBERS),
        (np.nan_to_num, holding(NUMBERS, 29)),
        (np.nan_to_num, holding(NUMBERS, 29, math.inf)),
    ],
    ids=["feature", "sparse", "data frame", "target", "infinite target"],
)
def test_scikit_learn_validation_samples_are_named(make, y):
    problem = SklearnTrainable(regressor(), make(X), NUMBERS, validation_data=(make(holding(X, (29, 1))), y))
    before = global_states()
    with pytest.raises(UnsupportedProblemError, match="before any training: sample 29 of the validation data"):
        SWEEP(problem)
    assert global_states() == before


def test_a_sample_that_was_split_off_has_its_number_in_what_was_passed():
    plain = SklearnTrainable(regressor(), X, NUMBERS, validation_fraction=0.5)
    held_out = [at for at in range(40) if (plain._validation[0] == X[at]).all(axis=1).any()]
    kept = next(at for at in range(20, 40) if at not in held_out)
    problem = SklearnTrainable(regressor(), X, holding(NUMBERS, held_out[5:]), validation_fraction=0.5)
    with pytest.raises(UnsupportedProblemError, match=f"sample {held_out[5]} of X and y, counted from 0"):
        SWEEP(problem)
    problem = SklearnTrainable(regressor(), X, holding(NUMBERS, kept), validation_fraction=0.5)
    assert problem.first_bad_sample("training").startswith(f"sample {kept} of X and y")
    assert problem.first_bad_sample("validation") is None


def test_more_samples_than_are_looked_at_at_a_time_are_counted_on():
    x = np.tile(X, (80, 1))
    problem = SklearnTrainable(regressor(), X, NUMBERS, validation_data=(holding(x, 3001), np.tile(NUMBERS, 80)))
    assert problem.first_bad_sample("validation").startswith("sample 3001 of")


def test_scikit_learn_says_itself_that_it_trains_on_no_nan():
    with pytest.raises(ValueError, match="Input X contains NaN"):
        SWEEP(SklearnTrainable(regressor(), holding(X, (29, 1)), NUMBERS, validation_fraction=0))


def test_a_class_that_is_nan_is_refused_by_its_place():
    with pytest.raises(InvalidArgumentError, match=r"y\[29\] is nan, which is no class"):
        SklearnTrainable(MLPClassifier((5,)), X, holding((NUMBERS > 0).astype(float), 29))


def test_a_skorch_net_takes_nan_and_the_sample_is_named():
    pytest.importorskip("skorch")
    from skorch import NeuralNetRegressor

    net = NeuralNetRegressor(nn.Linear(3, 1), lr=0.01, verbose=0)
    problem = SklearnTrainable(net, holding(X, (29, 1)), Y, validation_fraction=0, batch_size=40)
    with pytest.raises(UnsupportedProblemError, match="sample 29 of the training data"):
        SWEEP(problem)
    problem = SklearnTrainable(net, X, Y, validation_data=(X, holding(Y, (29, 0))))
    with pytest.raises(UnsupportedProblemError, match="sample 29 of the validation data"):
        SWEEP(problem)
    silent = NeuralNetRegressor(nn.Linear(3, 1), criterion=NoNumber, lr=0.01, verbose=0)
    with pytest.raises(UnsupportedProblemError, match=HINT):
        SWEEP(SklearnTrainable(silent, X, Y))


class NoNumber(nn.Module):
    def forward(self, outputs, targets):
        return (outputs - targets).mean() * math.nan


def test_a_range_test_that_a_later_batch_breaks_names_the_sample_and_no_cliff():
    result = learnrate.range_test(on(batches(holding(X, (30, 1)))))
    assert result.verdict is Verdict.ALL_DIVERGED
    assert result.learning_rate is None
    assert result.cliff is None
    assert not any(result.suggestions.values())
    assert any("sample 30 of the training data" in warning for warning in result.warnings)
    assert "breaks at" not in str(result)


def test_a_range_test_that_its_rates_break_blames_no_data():
    result = learnrate.range_test(on(batches()), max_learning_rate=1e3)
    assert result.cliff is not None
    assert not any("sample" in warning for warning in result.warnings)
