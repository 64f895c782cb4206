"""Nothing that a verb does to a PyTorch problem can be seen afterwards, whatever happened in the middle."""

from __future__ import annotations

import contextlib
import linecache
import sys

import numpy as np
import pytest
import torch
from _torch_problems import LOADERS, LOSS, MODELS, OPTIMIZERS, Augmented, Parts, Shuffling, differences
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader

from learnrate.errors import InvalidArgumentError
from learnrate.testing import check_trainable

FEW = settings(max_examples=25, deadline=None)
PROBLEMS = st.fixed_dictionaries(
    {
        "model": st.sampled_from(list(MODELS)),
        "optimizer": st.sampled_from(list(OPTIMIZERS)),
        "loader": st.sampled_from(list(LOADERS)),
    }
)
RATE = {name: make([nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"] for name, make in OPTIMIZERS.items()}


def train_in_blocks(problem, rate, steps, after=0):
    """Train a few steps at a time, never across an epoch's end; return the losses."""
    losses = []
    while len(losses) < steps:
        per_epoch = problem.steps_per_epoch
        size = min(3, steps - len(losses), per_epoch - (after + len(losses)) % per_epoch)
        losses += problem.train(np.full(size, rate))["loss"].tolist()
    return losses


@FEW
@given(
    PROBLEMS,
    st.lists(
        st.tuples(st.integers(1, 7), st.sampled_from(["evaluate", "fork", "file", "again"]), st.integers(0, 9)),
        max_size=4,
    ),
)
def test_training_with_detours_equals_the_plain_loop(tmp_path_factory, names, detours):
    user = Parts(**names)
    expected = user.train_plainly(3)
    parts = Parts(**names)
    problem, rate = parts.trainable(), RATE[names["optimizer"]]
    total = 3 * problem.steps_per_epoch
    losses = []
    for ahead, action, far in detours:
        losses += train_in_blocks(problem, rate, min(ahead, total - len(losses)), after=len(losses))
        if action == "evaluate":
            problem.evaluate()
            continue
        snapshot = problem.snapshot()
        train_in_blocks(problem, 7 * rate, far, after=len(losses))
        problem.evaluate()
        if action == "again":
            problem.restore(snapshot)
            train_in_blocks(problem, rate / 2, far // 2, after=len(losses))
        if action == "file":
            path = tmp_path_factory.mktemp("snapshots") / "snapshot"
            problem.save(snapshot, path)
            snapshot = problem.load(path)
        problem.restore(snapshot)
    losses += train_in_blocks(problem, rate, total - len(losses), after=len(losses))
    assert losses == expected
    problem._forget_gradients()
    user.optimizer.zero_grad()
    assert differences(user.everything(), parts.everything()) == []


class Interruption:
    """Raises at a given call: in the loss, in the data or in the optimizer."""

    def __init__(self, parts, where, call, error):
        self.calls, self.call, self.error = 0, call, error
        if where == "optimizer":
            self.undo = parts.optimizer.register_step_post_hook(lambda *_: self.count()).remove
        elif where == "forward":
            self.undo = next(parts.model.children()).register_forward_hook(lambda *_: self.count()).remove
        else:
            self.undo = (
                next(iter(parts.model.parameters())).register_post_accumulate_grad_hook(lambda _: self.count()).remove
            )

    def count(self):
        self.calls += 1
        if self.calls == self.call:
            raise self.error


@FEW
@given(
    PROBLEMS,
    st.sampled_from(["optimizer", "forward", "backward"]),
    st.integers(1, 14),
    st.sampled_from([KeyboardInterrupt, ValueError]),
    st.integers(0, 1),
)
def test_an_interrupted_search_leaves_nothing_behind(names, where, call, error, epochs_before):
    user = Parts(**names)
    user.train_plainly(epochs_before)
    expected = user.train_plainly(2)
    after = user.everything()
    parts = Parts(**names)
    parts.train_plainly(epochs_before)
    before = parts.everything()
    problem = parts.trainable()
    initial = problem.snapshot()
    interruption = Interruption(parts, where, call, error)
    with contextlib.suppress(error):
        problem.begin(0.1, 1, 5)
        problem.train(np.geomspace(1e-3, 1.0, problem.steps_per_epoch))
        problem.evaluate()
        middle = problem.snapshot()
        problem.train(np.geomspace(1e-3, 1.0, problem.steps_per_epoch - 1))
        problem.restore(middle)
        problem.train(np.geomspace(1e-3, 1.0, 2))
    interruption.undo()
    problem.restore(initial)
    assert differences(before, parts.everything()) == []
    assert parts.train_plainly(2) == expected
    assert differences(after, parts.everything()) == []


def interrupted_at(line, run):
    """Run until so many lines of the adapter were executed, then raise KeyboardInterrupt there.

    Not on the line of a `with`: Python looks for Ctrl-C after `__exit__`, while a trace function comes before it.
    """
    left = line

    def trace(frame, event, _argument):
        nonlocal left
        if "adapters" not in frame.f_code.co_filename:
            return None
        if event == "line" and "with " not in linecache.getline(frame.f_code.co_filename, frame.f_lineno):
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        run()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)


@settings(max_examples=40, deadline=None)
@given(PROBLEMS, st.integers(1, 2500))
@example({"model": "dropout", "optimizer": "adam", "loader": "stream"}, 700)
def test_ctrl_c_at_any_line_of_the_adapter_leaves_nothing_behind(names, line):
    plainly = Parts(**names).train_plainly(1)
    parts = Parts(**names)
    before = parts.everything()
    problem = parts.trainable()
    initial = problem.snapshot()
    problem.train(np.full(2, 0.01))
    middle = problem.snapshot()
    expected = problem.train(np.full(1, 0.01))["loss"].tolist()

    def search():
        for _ in range(3):
            problem.train(np.full(2, 0.1))
            problem.evaluate()
            problem.snapshot()
            problem.restore(middle)

    interrupted_at(line, search)
    problem.restore(middle)
    assert problem.train(np.full(1, 0.01))["loss"].tolist() == expected
    problem.restore(initial)
    assert differences(before, parts.everything()) == []
    assert parts.train_plainly(1) == plainly


@pytest.mark.parametrize("loader", LOADERS)
def test_every_loader_passes_the_check(loader):
    check_trainable(Parts(model="noise", optimizer="adam", loader=loader).trainable())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_passes_the_check(optimizer):
    check_trainable(Parts(model="batchnorm", optimizer=optimizer).trainable(accumulate=2, clip_norm=1.0))
