"""Stopping rules in real trainings: every Trainable obeys them as a plain loop, and as Keras, would."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import msgspec
import numpy as np
import pytest
import torch

import learnrate
from learnrate import schedules
from learnrate._trials.laboratory import Laboratory
from learnrate.errors import InvalidArgumentError
from learnrate.results import TrialState
from learnrate.stopping import EarlyStopping, ReduceOnPlateau, from_settings, settings_of
from learnrate.testing import QuadraticTrainable

RATE = 0.25
EPOCHS = 120
EARLY = EarlyStopping(patience=15, min_delta=1e-4)
PLATEAU = ReduceOnPlateau(factor=0.5, patience=4, min_delta=1e-4, min_learning_rate=1e-3)


def data():
    """A regression with more features than samples: its validation loss falls and then rises."""
    rng = np.random.default_rng(2)
    truth = rng.standard_normal((40, 1)) / 4
    inputs = rng.standard_normal((54, 40)).astype(np.float32)
    targets = (inputs @ truth + rng.standard_normal((54, 1))).astype(np.float32)
    return (inputs[:24], targets[:24]), (inputs[24:], targets[24:])


def model():
    linear = torch.nn.Linear(40, 1)
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.zero_()
    return linear


def problem():
    train, validation = ([tuple(map(torch.from_numpy, part))] for part in data())
    linear = model()
    optimizer = torch.optim.SGD(linear.parameters(), lr=0.1)
    return learnrate.TorchTrainable(linear, optimizer, torch.nn.MSELoss(), train, validation)


def plain_loop(rules, *, schedule=None):
    """Train as a person would write it down, with the rules told by hand; return losses, rates and the best weights."""
    (inputs, targets), held_out = (tuple(map(torch.from_numpy, part)) for part in data())
    linear = model()
    optimizer = torch.optim.SGD(linear.parameters(), lr=RATE)
    early = next((rule.start() for rule in rules if isinstance(rule, EarlyStopping)), None)
    plateau = next((rule.start(RATE) for rule in rules if isinstance(rule, ReduceOnPlateau)), None)
    factor, losses, rates, best = 1.0, [], [], None
    for epoch in range(1, EPOCHS + 1):
        rate = RATE if schedule is None else schedule.values()[epoch - 1]
        optimizer.param_groups[0]["lr"] = float(rate * factor)
        rates.append(float(rate * factor))
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(linear(inputs), targets).backward()
        optimizer.step()
        with torch.no_grad():
            loss = torch.nn.functional.mse_loss(linear(held_out[0]), held_out[1]).item()
        losses.append(loss)
        if loss == min(losses):
            best = linear.weight.detach().clone()
        if plateau is not None:
            factor = plateau.update(epoch, loss).factor
        if early is not None and early.update(epoch, loss).stop:
            break
    return losses, rates, best


def only(sweep):
    (trial,) = sweep.trials
    return trial


@pytest.mark.parametrize("rules", [[EARLY], [PLATEAU], [EARLY, PLATEAU], [PLATEAU, EARLY]])
def test_a_training_with_rules_is_the_plain_loop_that_tells_them_each_epoch(rules):
    losses, rates, best = plain_loop(rules)
    subject = problem()
    result = learnrate.sweep(subject, [RATE], epochs=EPOCHS, stopping=rules)
    trial = only(result)
    assert trial.curve.values("val_loss").tolist() == losses
    assert trial.reductions == [epoch for epoch in range(1, len(rates)) if rates[epoch] < rates[epoch - 1]]
    subject.restore(result.best)
    assert torch.equal(subject.model.weight, best)
    assert (len(losses) < EPOCHS) == (EARLY in rules)
    assert bool(trial.reductions) == (PLATEAU in rules)


def test_reducing_on_a_plateau_multiplies_whatever_schedule_is_in_use():
    losses, _, _ = plain_loop([PLATEAU], schedule=schedules.cosine(RATE, EPOCHS))
    result = learnrate.sweep(problem(), [RATE], epochs=EPOCHS, stopping=PLATEAU, schedule=schedules.cosine)
    assert only(result).curve.values("val_loss").tolist() == losses
    assert only(result).reductions


def fit_as_keras():
    """Train by Keras's `fit` with its own callbacks, and print what it logged."""
    import keras

    (inputs, targets), held_out = data()
    keras_model = keras.Sequential([keras.Input((40,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    keras_model.compile(optimizer=keras.optimizers.SGD(RATE), loss="mse")
    callbacks = [
        keras.callbacks.EarlyStopping(patience=15, min_delta=1e-4, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=4, min_delta=1e-4, min_lr=1e-3),
    ]
    settings = {"epochs": EPOCHS, "batch_size": 24, "shuffle": False, "verbose": 0, "callbacks": callbacks}
    logged = keras_model.fit(inputs, targets, validation_data=held_out, **settings).history
    best = float(keras_model.evaluate(*held_out, verbose=0))
    sys.stdout.write(json.dumps({name: list(map(float, values)) for name, values in logged.items()} | {"best": best}))


def test_a_training_with_both_rules_is_kerass_fit_with_its_callbacks():
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run([sys.executable, __file__], env=environment, check=True, capture_output=True, text=True)
    keras = json.loads(done.stdout.splitlines()[-1])
    subject = problem()
    result = learnrate.sweep(subject, [RATE], epochs=EPOCHS, stopping=[EARLY, PLATEAU])
    trial = only(result)
    np.testing.assert_allclose(trial.curve.values("val_loss"), keras["val_loss"], rtol=1e-4)
    rates = keras["learning_rate"]  # as logged at each epoch's end, before it is lowered
    assert trial.reductions == [epoch for epoch in range(1, len(rates)) if rates[epoch] < 0.99 * rates[epoch - 1]]
    subject.restore(result.best)
    assert subject.evaluate()["val_loss"] == pytest.approx(keras["best"], rel=1e-4)


# What is kept, and what it costs


def test_a_stopped_trial_is_complete_and_its_curve_ends_where_it_stopped():
    trial = only(result := learnrate.sweep(problem(), [RATE], epochs=EPOCHS, stopping=EARLY))
    assert trial.state is TrialState.COMPLETE
    assert trial.epochs == trial.curve.epochs[-1] == trial.curve.best("val_loss", "min").epoch + 15
    assert trial.horizon == EPOCHS
    assert f"stopped after {trial.epochs:g} of {EPOCHS} epochs" in str(result)


def test_only_what_was_trained_is_in_the_cost():
    result = learnrate.sweep(
        QuadraticTrainable(evaluation_steps=5), [0.5], epochs=400, stopping=EarlyStopping(patience=5)
    )
    epochs = only(result).epochs
    assert epochs < 400
    assert result.cost == pytest.approx((epochs * 25 + 5) / (400 * 25))  # and one look before training


def test_without_restore_best_the_weights_are_those_of_the_last_epoch():
    rule = EarlyStopping(patience=15, min_delta=1e-4, restore_best=False)
    subject = problem()
    result = learnrate.sweep(subject, [RATE], epochs=EPOCHS, stopping=rule)
    subject.restore(result.best)
    assert subject.evaluate()["val_loss"] == only(result).curve.last("val_loss") > result.value


def test_the_best_trials_weights_come_with_the_sweep_and_the_problem_is_left_alone():
    subject = problem()
    before = subject.evaluate()
    result = learnrate.sweep(subject, [0.01, 0.05, RATE, 5.0], epochs=40, stopping=EarlyStopping(patience=3))
    assert subject.evaluate() == before
    subject.restore(result.best)
    assert subject.evaluate()["val_loss"] == result.value
    again = type(result).from_json(result.to_json())
    assert again.best is None
    assert [trial.reductions for trial in again.trials] == [trial.reductions for trial in result.trials]


def test_a_study_keeps_the_weights_of_every_trial_in_a_file_of_its_own(tmp_path):
    subject = problem()
    result = learnrate.sweep(subject, [0.05, RATE], epochs=60, stopping=[EARLY, PLATEAU], study=tmp_path / "study")
    names = sorted(file.stem.split(".")[0] for file in (tmp_path / "study" / "checkpoints").iterdir())
    best = [trial.curve.best("val_loss", "min") for trial in result.trials]
    assert names == sorted(f"trial-{number}-step-{one.epoch:g}" for number, one in enumerate(best))
    for number, one in enumerate(best):
        (file,) = (tmp_path / "study" / "checkpoints").glob(f"trial-{number}-*")
        subject.restore(subject.load(file))
        assert subject.evaluate()["val_loss"] == one.value


# Interrupted


class Interrupted(QuadraticTrainable):
    """Stops as Ctrl-C would after so many steps."""

    def __init__(self, stop_after):
        super().__init__(noise=0.4)
        self.left = stop_after

    def train(self, learning_rates):
        self.left -= len(learning_rates)
        if self.left < 0:
            raise KeyboardInterrupt
        return super().train(learning_rates)


def timeless(result):
    trials = [msgspec.structs.replace(trial, seconds=0.0) for trial in result.trials]
    return msgspec.structs.replace(result, seconds=0.0, trials=trials).to_json()


@pytest.mark.parametrize("stop_after", [30, 400, 900])
def test_an_interrupted_sweep_with_rules_ends_as_an_uninterrupted_one(tmp_path, stop_after):
    rules = [EarlyStopping(patience=6), ReduceOnPlateau(patience=2, factor=0.5)]
    settings = {"epochs": 60, "stopping": rules}
    whole = learnrate.sweep(QuadraticTrainable(noise=0.4), [0.1, 0.5, 1.0], **settings)
    assert any(trial.epochs < 60 for trial in whole.trials)
    with pytest.raises(KeyboardInterrupt):
        learnrate.sweep(Interrupted(stop_after), [0.1, 0.5, 1.0], **settings, study=tmp_path / "study")
    subject = QuadraticTrainable(noise=0.4)
    result = learnrate.sweep(subject, [0.1, 0.5, 1.0], **settings, study=tmp_path / "study")
    assert timeless(result) == timeless(whole)
    for again in (result, learnrate.sweep(subject, [0.1, 0.5, 1.0], **settings, study=tmp_path / "study")):
        subject.restore(again.best)
        assert subject.evaluate()["val_loss"] == whole.value


@pytest.mark.parametrize("first_epochs", [3, 9, 14, 25])
def test_a_trial_that_goes_on_after_a_pause_obeys_as_if_it_had_never_paused(first_epochs):
    rules = (EarlyStopping(patience=6), ReduceOnPlateau(patience=2, factor=0.5))

    def curve(*stops):
        with Laboratory(
            QuadraticTrainable(noise=0.4),
            epochs=60,
            schedule=schedules.constant,
            metric="val_loss",
            mode="min",
            seed=0,
            stopping=rules,
        ) as lab:
            trial = lab.start(0.5, stops[0], stage="")
            for stop in stops[1:]:
                trial = lab.resume(trial, stop, stage="")
            return trial.curve.values("val_loss").tolist()

    assert curve(first_epochs * 20, 60 * 20) == curve(60 * 20)


# Other kinds of problem


def test_a_generator_is_stopped_and_closed():
    closed = []

    def train(learning_rate):
        try:
            for loss in [1.0, 0.5, 0.6, 0.7, 0.8, 0.9]:
                yield {"val_loss": loss + learning_rate}
        finally:
            closed.append(learning_rate)

    result = learnrate.sweep(train, [0.1], epochs=6, stopping=EarlyStopping(patience=2))
    assert only(result).epochs == 4
    assert closed


def test_a_function_takes_one_rate_and_so_cannot_have_it_lowered():
    with pytest.raises(InvalidArgumentError, match="ReduceOnPlateau cannot lower the rate of a function"):
        learnrate.sweep(lambda learning_rate: learning_rate, [0.1], epochs=3, stopping=ReduceOnPlateau())


def test_a_function_that_reports_only_at_its_end_is_said_not_to_have_been_stopped():
    result = learnrate.sweep(
        lambda learning_rate: {"val_loss": learning_rate}, [0.1, 0.2], epochs=9, stopping=EarlyStopping(patience=1)
    )
    assert any("only at its end" in warning for warning in result.warnings)


# Wrong usage


@pytest.mark.parametrize(
    ("stopping", "message"),
    [
        (3, "stopping is 3: pass EarlyStopping"),
        ("early", "stopping is 'early'"),
        ([EARLY, EARLY], "two of a kind"),
        (EarlyStopping(patience=3, mode="max"), r'EarlyStopping has mode="max" where mode="min" decides'),
    ],
)
def test_what_is_no_rule_or_does_not_fit_is_refused(stopping, message):
    with pytest.raises(InvalidArgumentError, match=message):
        learnrate.sweep(QuadraticTrainable(), [0.1], epochs=2, stopping=stopping)


def test_no_rules_change_nothing():
    plain = learnrate.sweep(QuadraticTrainable(), [0.1, 0.5], epochs=4)
    for nothing in (None, []):
        assert timeless(learnrate.sweep(QuadraticTrainable(), [0.1, 0.5], epochs=4, stopping=nothing)) == timeless(
            plain
        )


def test_rules_come_back_from_what_a_study_remembers_of_them():
    rules = [EARLY, PLATEAU]
    assert from_settings(json.loads(json.dumps(settings_of(rules)))) == rules


if __name__ == "__main__":
    fit_as_keras()
