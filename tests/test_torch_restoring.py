"""Nothing that a verb does to a PyTorch problem can be seen afterwards, whatever happened in the middle."""

# The global generators are what users draw from, and what is to be left alone:
# ruff: noqa: NPY002, S311

from __future__ import annotations

import contextlib
import functools
import linecache
import math
import random
import sys

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from _torch_problems import LOADERS, LOSS, MODELS, OPTIMIZERS, Augmented, Parts, differences, same
from learnrate.adapters._torch_state import read, write
from learnrate.errors import InvalidArgumentError, UnsupportedProblemError
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


class Rows(IterableDataset):
    """Rows of noise without a length, shared out to the workers."""

    def __init__(self, rows=24):
        self.rows = rows

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for at in range(first, self.rows, stride):
            yield torch.rand(4) + np.random.rand() + random.random(), at % 3


def with_loader(loader, **settings):
    parts = Parts()
    parts.loader = loader
    return parts, parts.trainable(**settings)


@pytest.mark.parametrize("persistent", [False, True])
def test_two_workers_whose_data_is_random_are_put_back_in_the_middle_of_an_epoch(persistent):
    x, y = torch.arange(88.0).reshape(22, 4) / 88, torch.arange(22) % 3

    def loader():
        return DataLoader(Augmented(x, y), 4, shuffle=True, num_workers=2, persistent_workers=persistent)

    if not persistent:  # workers that persist draw their seed once only, which nobody can put back
        user = Parts()
        user.loader = loader()
        expected = user.train_plainly(2)
    _, problem = with_loader(loader())
    losses = problem.train(np.full(2, 0.05))["loss"].tolist()
    middle = problem.snapshot()
    rest = problem.train(np.full(4, 0.05))["loss"].tolist()
    for far in (1, 4):
        problem.restore(middle)
        live = problem._stream._pass
        problem.train(np.full(min(far, 4), 0.5))
        assert far == 4 or problem._stream._pass is live  # the batches were kept, no worker was started anew
    problem.restore(middle)
    assert problem.train(np.full(4, 0.05))["loss"].tolist() == rest
    losses += rest + problem.train(np.full(6, 0.05))["loss"].tolist()
    assert persistent or losses == expected
    problem.restore(middle)
    assert problem.train(np.full(4, 0.05))["loss"].tolist() == rest


def test_a_stream_without_length_goes_on_over_the_ends_of_epochs_and_is_put_back_anywhere():
    _, problem = with_loader(DataLoader(Rows(), batch_size=4), steps_per_epoch=4)
    _, again = with_loader(DataLoader(Rows(), batch_size=4), steps_per_epoch=4)
    check_trainable(problem)
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    snapshots, losses = [], []
    for _ in range(4):
        snapshots.append(problem.snapshot())
        losses.append(problem.train(np.full(4, 0.05))["loss"].tolist())
    for snapshot, expected in zip(reversed(snapshots), reversed(losses), strict=True):
        again.restore(snapshot)
        assert again.train(np.full(4, 0.05))["loss"].tolist() == expected


def test_a_stream_in_workers_is_put_back():
    _, problem = with_loader(DataLoader(Rows(), batch_size=4, num_workers=2), steps_per_epoch=4)
    problem.train(np.full(3, 0.05))
    snapshot = problem.snapshot()
    expected = problem.train(np.full(6, 0.05))["loss"].tolist()
    problem.restore(snapshot)
    assert problem.train(np.full(6, 0.05))["loss"].tolist() == expected
    problem._stream._pass = None  # as after a crash
    problem.restore(snapshot)
    assert problem.train(np.full(6, 0.05))["loss"].tolist() == expected


class Distributed(torch.utils.data.Sampler):
    """A sampler that is told the epoch, as DistributedSampler is."""

    def __init__(self):
        self.epoch = 3

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 22

    def __iter__(self):
        return iter(torch.randperm(22, generator=torch.Generator().manual_seed(self.epoch)).tolist())


def test_a_sampler_is_told_the_epoch_and_finds_it_as_it_was():
    data = TensorDataset(torch.randn(22, 4), torch.arange(22) % 3)
    sampler = Distributed()
    _, problem = with_loader(DataLoader(data, 5, sampler=sampler))
    start, told = problem.snapshot(), []
    for _ in range(3):
        problem.train(np.full(2, 0.05))
        told.append(sampler.epoch)
        middle = problem.snapshot()
        problem.train(np.full(3, 0.05))
        end = problem.snapshot()
        problem.train(np.full(1, 0.05))
        problem.restore(middle)
        assert sampler.epoch == told[-1]
        problem.restore(end)
    assert told == [3, 4, 5]
    problem.restore(start)
    assert sampler.epoch == 3
    check_trainable(problem)


def test_generators_that_hide_are_put_back_when_they_are_named():
    hidden = {"torch": torch.Generator(), "numpy": np.random.default_rng(1), "python": random.Random(2)}
    hidden["state"] = np.random.RandomState(3)
    names = list(hidden)

    def loss_fn(outputs, targets):
        noise = torch.rand((), generator=HIDDEN["torch"]) + HIDDEN["numpy"].random() + HIDDEN["python"].random()
        return LOSS(outputs, targets) * (noise + HIDDEN["state"].rand())

    HIDDEN.update(hidden)
    check_trainable(Parts().trainable(loss_fn, generators=[hidden[name] for name in names]))
    with pytest.raises(AssertionError, match="differ"):
        check_trainable(Parts().trainable(loss_fn))
    with pytest.raises(InvalidArgumentError, match="generators holds a int"):
        Parts().trainable(generators=[5])


HIDDEN = {}


def test_generators_are_found_in_what_functions_close_over_and_in_transforms():
    own = np.random.default_rng(1)
    transform = functools.partial(lambda noise, x: x + noise.random(), random.Random(4))

    def collate(samples):
        x, y = torch.utils.data.default_collate(samples)
        return transform(x) + own.random(), y

    data = TensorDataset(torch.randn(22, 4), torch.arange(22) % 3)
    _, problem = with_loader(DataLoader(data, 5, collate_fn=collate))
    check_trainable(problem)


def test_state_keeps_its_dtypes_and_what_was_absent_is_absent_again():
    parts = Parts(optimizer="adam")
    parts.model.bfloat16()
    problem = parts.trainable(lambda outputs, targets: LOSS(outputs.float(), targets), training_step=half_step)
    fresh = problem.snapshot()
    for parameter in parts.model.parameters():
        parts.optimizer.state[parameter] = {
            "step": torch.tensor(3.0),
            "exp_avg": torch.full(parameter.shape, 1 / 3),
            "exp_avg_sq": torch.full(parameter.shape, 1 / 7),
            "max_exp_avg_sq": torch.full(parameter.shape, 1 / 7, dtype=torch.float64),
        }
    before = parts.everything()
    momenta = [parts.optimizer.state[parameter]["exp_avg"] for parameter in parts.model.parameters()]
    kept = problem.snapshot()
    for momentum in momenta:
        momentum.mul_(2)
    problem.restore(kept)
    assert differences(before, parts.everything()) == []
    held = [parts.optimizer.state[parameter]["exp_avg"] for parameter in parts.model.parameters()]
    assert all(one is other for one, other in zip(momenta, held, strict=True))  # in place
    problem.restore(fresh)
    assert not parts.optimizer.state


def half_step(model, batch):
    return LOSS(model(batch[0].bfloat16()).float(), batch[1])


def test_the_users_gradients_and_groups_come_back():
    parts = Parts()
    for number, parameter in enumerate(parts.model.parameters()):
        parameter.grad = None if number == 1 else torch.randn(parameter.shape)
    next(parts.model.parameters()).requires_grad_(False)
    parts.optimizer.param_groups[0]["note"] = ["mine", {"too": (1, 2.5)}]
    before = parts.everything()
    problem = parts.trainable()
    start = problem.snapshot()
    problem.train(np.full(3, 0.1))
    parts.optimizer.param_groups[0]["note"][1]["too"] = 0
    parts.optimizer.param_groups[1].update(momentum=0.1, other=1)
    next(parts.model.parameters()).requires_grad_(True)
    problem.restore(start)
    assert differences(before, parts.everything()) == []


def test_restoring_keeps_the_parameters_identity():
    parts = Parts(model="shared")
    problem = parts.trainable()
    identities = [(id(parameter), parameter.data_ptr()) for parameter in parts.model.parameters()]
    start = problem.snapshot()
    problem.train(np.full(5, 0.1))
    problem.restore(start)
    assert [(id(parameter), parameter.data_ptr()) for parameter in parts.model.parameters()] == identities
    assert parts.model.one.weight is parts.model.two.weight


def test_a_refused_loss_puts_back_what_the_first_batch_changed():
    parts = Parts(model="noise")
    before = parts.everything()
    problem = parts.trainable(lambda outputs, targets: LOSS(outputs, targets).detach())
    with pytest.raises(UnsupportedProblemError, match="no gradient"):
        problem.train(np.full(2, 0.1))
    assert set(differences(before, parts.everything())) <= {"optimizer"}  # its rate alone, which restore puts back


def test_the_scaler_of_mixed_precision_is_put_back():
    parts = Parts(optimizer="adam")
    problem = parts.trainable(autocast="float16")
    check_trainable(problem)
    problem.train(np.full(1, 0.1))
    problem._scaler.update(2.0**40)  # overflows: updates are skipped and the scale falls
    high = problem.snapshot()
    weights = [parameter.clone() for parameter in parts.model.parameters()]
    problem.train(np.full(2, 0.1))
    assert problem._scaler.get_scale() < 2.0**40
    assert all(torch.equal(*pair) for pair in zip(weights, parts.model.parameters(), strict=True))
    problem.restore(high)
    assert problem._scaler.get_scale() == 2.0**40


def test_a_module_with_extra_state_and_a_train_mode_of_its_own():
    class Counting(nn.Linear):
        calls = 0

        def forward(self, x):
            self.calls += self.training
            return super().forward(x) * (1 + 0.01 * self.calls)

        def train(self, mode=True):
            super().train(mode)
            self.merged = not mode
            return self

        def get_extra_state(self):
            return {"calls": self.calls}

        def set_extra_state(self, state):
            self.calls = state["calls"]

    parts = Parts()
    parts.model[3] = Counting(6, 3)
    parts.optimizer = torch.optim.SGD(parts.model.parameters(), lr=0.1)
    problem = parts.trainable()
    check_trainable(problem)
    parts.model.train()
    problem.evaluate()
    assert parts.model[3].training
    assert not parts.model[3].merged


def test_a_snapshot_of_another_model_is_refused_and_nothing_changes():
    parts, other = Parts(model="shared"), Parts()
    before = parts.everything()
    with pytest.raises(InvalidArgumentError, match=r"another model: its parameter .* has the shape"):
        parts.trainable().restore(other.trainable().snapshot())
    assert differences(before, parts.everything()) == []


def test_a_file_that_is_no_snapshot_is_refused(tmp_path):
    problem = Parts().trainable()
    for name, content in [("empty", b""), ("noise", bytes(range(256)) * 20)]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidArgumentError, match="not a snapshot"):
            problem.load(tmp_path / name)
    problem.save(problem.snapshot(), tmp_path / "cut")
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:-100])
    with pytest.raises(InvalidArgumentError, match="not a snapshot"):
        problem.load(tmp_path / "cut")
    with pytest.raises(FileNotFoundError):
        problem.load(tmp_path / "missing")


def test_state_that_would_need_pickle_is_not_saved(tmp_path):
    parts = Parts()
    parts.optimizer.param_groups[0]["callback"] = print
    problem = parts.trainable()
    snapshot = problem.snapshot()
    problem.restore(snapshot)
    with pytest.raises(UnsupportedProblemError, match="without pickle"):
        problem.save(snapshot, tmp_path / "snapshot")
    assert list(tmp_path.iterdir()) == []


def test_a_file_keeps_every_kind_of_value(tmp_path):
    tree = {
        "numbers": (1, -(2**100), 0.1, math.inf, -0.0, True, None, "é"),
        3: [torch.tensor(1 + 2j), torch.ones(2, 3, dtype=torch.bfloat16).t(), torch.empty(0)],
        "many": list(range(1000)),
        "mixed": [[1, 2], (3,)],
        "array": np.arange(3, dtype=np.uint32),
        "scalar": np.float32(0.1),
    }
    write(tree, tmp_path / "tree")
    assert same(read(tmp_path / "tree"), tree)
    write({"nan": math.nan}, tmp_path / "tree")
    assert math.isnan(read(tmp_path / "tree")["nan"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("autocast", [None, "float16", "bfloat16"])
def test_a_problem_on_the_gpu_passes_the_check(autocast, tmp_path):
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    parts = Parts(model="dropout", optimizer="adam")
    parts.model.cuda()
    parts.optimizer = torch.optim.Adam(parts.model.parameters(), lr=torch.tensor(0.01), capturable=True)
    problem = parts.trainable(autocast=autocast)
    before = torch.cuda.get_rng_state_all()
    check_trainable(problem)
    assert all(torch.equal(*pair) for pair in zip(before, torch.cuda.get_rng_state_all(), strict=True))
