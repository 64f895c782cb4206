"""Many learning rates in one program: the same trainings as one after another, to rounding, or a reason why not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from learnrate._select import select
from learnrate._sweep import sweep
from learnrate._trials.stacked import pays
from learnrate.engines.local import LocalEngine
from learnrate.errors import InvalidArgumentError, UnsupportedProblemError
from learnrate.results import TrialState
from learnrate.schedules import cosine
from learnrate.stopping import EarlyStopping, ReduceOnPlateau
from learnrate.testing import QuadraticTrainable
from learnrate.training import BLOCK, Dimensions, EventKind

torch = pytest.importorskip("torch")
nn = torch.nn
TorchTrainable = pytest.importorskip("learnrate.adapters.torch").TorchTrainable

RATES = [1e-4, 1e-3, 1e-2]
WILD = 3e38  # what float32 cannot step by


class Tied(nn.Module):
    """Two layers of one weight, LayerNorm, and a buffer that no state dict has and every step replaces."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.norm, self.head = (
            nn.Linear(4, 4, bias=False),
            nn.Linear(4, 4),
            nn.LayerNorm(4),
            nn.Linear(4, 3),
        )
        self.two.weight = self.one.weight
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, x):
        if self.training:
            self.seen = self.seen + x.detach().square().mean()
        return self.scale * self.head(self.norm(torch.tanh(self.two(torch.tanh(self.one(x)))))) + 0.01 * self.seen


def frozen_first_layer():
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.3), nn.Tanh(), nn.Linear(6, 3))
    model[0].weight.requires_grad_(False)
    return model


MODELS = {
    "mlp": lambda: nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.3), nn.Tanh(), nn.Linear(6, 3)),
    "convnet": lambda: nn.Sequential(
        *(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 4, 2, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
    ),
    "tied": Tied,
    "frozen": frozen_first_layer,
}
OPTIMIZERS = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1, weight_decay=0.01),
    "momentum": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, dampening=0.1),
    "nesterov": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.1, amsgrad=True, weight_decay=0.01),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.1, weight_decay=0.1),
    "nadam": lambda groups: torch.optim.NAdam(groups, lr=0.1, weight_decay=0.1, decoupled_weight_decay=True),
    "radam": lambda groups: torch.optim.RAdam(groups, lr=0.1, weight_decay=0.1),
    "rmsprop": lambda groups: torch.optim.RMSprop(groups, lr=0.1, momentum=0.5, centered=True),
    "adagrad": lambda groups: torch.optim.Adagrad(groups, lr=0.1, lr_decay=0.01, initial_accumulator_value=0.1),
    "adadelta": lambda groups: torch.optim.Adadelta(groups, lr=0.1, weight_decay=0.01, maximize=True),
    "adamax": lambda groups: torch.optim.Adamax(groups, lr=0.1),
}
LOSS = nn.CrossEntropyLoss()


def data(size=44):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(size, 4, generator=generator)
    return x, (x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] > 0).long()


def accuracy(outputs, targets):
    return (outputs.argmax(1) == targets).float().mean()


class Counted:
    """A metric with a state of its own."""

    def reset(self):
        self.right = self.all = 0

    def update(self, outputs, targets):
        self.right += int((outputs.argmax(1) == targets).sum())
        self.all += len(targets)

    def compute(self):
        return self.right / self.all


def problem(model="mlp", optimizer="adamw", **settings):
    torch.manual_seed(0)
    model = (MODELS[model] if isinstance(model, str) else model)()
    head = list(list(model.children())[-1].parameters())
    body = [it for it in model.parameters() if not any(it is one for one in head)]
    groups = [{"params": head, "lr": 0.05}, {"params": body}]
    optimizer = OPTIMIZERS[optimizer](groups) if isinstance(optimizer, str) else optimizer(groups)
    x, y = data()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8, shuffle=True)
    settings = {"metrics": {"accuracy": accuracy, "val_counted": Counted()}} | settings
    return TorchTrainable(model, optimizer, LOSS, loader, [(x[:20], y[:20]), (x[20:], y[20:])], **settings)


def trained_apart(trainable, rates):
    """Train at each column of rates by itself: the slow, plain way."""
    start = trainable.snapshot()
    reports, snapshots = [], []
    for column in rates.T:
        trainable.restore(start)
        trainable.begin(float(column[0]), 1, 5)
        reports.append({**trainable.train(column), **{k: np.array([v]) for k, v in trainable.evaluate().items()}})
        snapshots.append(trainable.snapshot())
    trainable.restore(start)
    return {name: np.stack([report[name] for report in reports], axis=-1) for name in reports[0]}, snapshots


def trained_together(trainable, rates, *, blocks=3):
    start = trainable.snapshot()
    trainable.begin(1.0, 1, 5)
    stack = trainable.stack([trainable.snapshot()] * rates.shape[1])
    parts = [stack.train(block) for block in np.array_split(rates, blocks)]
    report = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    report |= {name: values[None] for name, values in stack.evaluate().items()}
    snapshots = [stack.snapshot(place) for place in range(rates.shape[1])]
    trainable.restore(start)
    return report, snapshots


def rates_below_the_cliff(steps, several=(1e-5, 1e-3, 1e-2)):
    """Columns of rates that change from step to step, one of them at 0 now and then."""
    shape = np.abs(np.sin(np.arange(1, steps + 1)))[:, None]
    rates = shape * np.array(several)
    rates[::7] = 0
    return rates


def assert_same_training(trainable, rates, tolerance=1e-5):
    apart, left_apart = trained_apart(trainable, rates)
    together, left_together = trained_together(trainable, rates)
    assert apart.keys() == together.keys()
    np.testing.assert_allclose(together["loss"], apart["loss"], rtol=tolerance)
    np.testing.assert_allclose(together["val_loss"], apart["val_loss"], rtol=tolerance)
    for one, other in zip(left_apart, left_together, strict=True):
        assert plain(one.state).keys() == plain(other.state).keys()
        for name, value in plain(one.state).items():
            if name.startswith("random") or not isinstance(value, torch.Tensor):
                assert str(plain(other.state)[name]) == str(value), name


def plain(tree, path=""):
    """The leaves of a tree by their path."""
    if isinstance(tree, dict):
        return {key: leaf for name, it in tree.items() for key, leaf in plain(it, f"{path}/{name}").items()}
    if isinstance(tree, list | tuple):
        return {key: leaf for at, it in enumerate(tree) for key, leaf in plain(it, f"{path}/{at}").items()}
    return {path.lstrip("/"): tree}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_ten_steps_of_every_optimizer_allowed_are_those_of_separate_trainings(optimizer):
    assert_same_training(problem("mlp", optimizer, clip_norm=0.5), rates_below_the_cliff(11), 2e-6)


@settings(max_examples=3, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # shrinking takes hours
@given(
    st.sampled_from(list(MODELS)), st.sampled_from(list(OPTIMIZERS)), st.integers(1, 2), st.sampled_from([None, 0.1])
)
def test_fifty_steps_of_any_model_are_those_of_separate_trainings(model, optimizer, accumulate, clip_norm):
    one = problem(model, optimizer, accumulate=accumulate, clip_norm=clip_norm)
    assert_same_training(one, rates_below_the_cliff(50, (1e-3, 1e-2)))


class WithNoise(torch.optim.SGD):
    """A subclass, which may do anything."""


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0])


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.one(x) if float(self.one(x).mean()) > 0 else self.two(x)


class Remembering(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.last = nn.Linear(4, 3), None

    def forward(self, x):
        self.last = self.head(x)
        return self.last


class Deaf(nn.Module):
    """Computes with weights that nobody can exchange."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.kept = [self.head]

    def forward(self, x):
        weight = self.__dict__.setdefault("weights", (self.head.weight,))[0]
        return nn.functional.linear(x, weight, self.head.bias)


def hooked():
    model = MODELS["mlp"]()
    model[0].register_forward_hook(lambda module, args, output: None)
    return model


def hooked_optimizer(parameters):
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    optimizer.register_step_post_hook(lambda *arguments: None)
    return optimizer


REFUSED = {
    "a subclass of an optimizer": ({"optimizer": lambda groups: WithNoise(groups, lr=0.1)}, "WithNoise is not known"),
    "Rprop": ({"optimizer": lambda groups: torch.optim.Rprop(groups, lr=0.1)}, "Rprop is not known"),
    "ASGD": ({"optimizer": lambda groups: torch.optim.ASGD(groups, lr=0.1)}, "ASGD is not known"),
    "Adafactor": ({"optimizer": lambda groups: torch.optim.Adafactor(groups, lr=0.1)}, "Adafactor is not known"),
    "differentiable": (
        {"optimizer": lambda groups: torch.optim.SGD(groups, lr=0.1, differentiable=True)},
        "differentiable=True",
    ),
    "a hook on the optimizer": ({"optimizer": hooked_optimizer}, "SGD has hooks"),
    "a hook on a module": ({"model": hooked}, "has hooks"),
    "an LSTM": ({"model": Recurrent}, "PyTorch cannot batch its training step: Batching rule not implemented"),
    "data-dependent control flow": ({"model": Branching}, "depends on the values of tensors"),
    "a tensor kept as an attribute": ({"model": Remembering}, "keeps a tensor of each step as its attribute last"),
    "attention with dropout": (
        {"model": lambda: nn.Sequential(nn.Unflatten(1, (1, 4)), nn.TransformerEncoderLayer(4, 2, 8), nn.Flatten())},
        "(differ|random numbers|batch)",
    ),
    "weights from elsewhere": ({"model": Deaf}, "(differ|gradient)"),
    "a metric of numbers": ({"metrics": {"mean": lambda outputs, targets: outputs.mean().item()}}, "values of tensors"),
    "float16": ({"autocast": "float16"}, "float16 scales the loss"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_batched_is_refused_with_the_reason_before_any_training(case):
    given, reason = REFUSED[case]
    model = given.get("model", MODELS["mlp"])()
    trainable = problem(
        lambda: model, **{"optimizer": "sgd"} | {key: it for key, it in given.items() if key != "model"}
    )
    attributes = [dict(vars(module)) for module in model.modules()]
    before = str(plain(trainable.snapshot().state))
    began = []
    with pytest.raises(UnsupportedProblemError, match=f"(?s)vectorized=True cannot be done here: .*{reason}"):
        sweep(trainable, RATES, epochs=1, vectorized=True, on_event=began.append)
    assert not began
    assert str(plain(trainable.snapshot().state)) == before
    for module, kept in zip(model.modules(), attributes, strict=True):
        assert vars(module).keys() == kept.keys()
        assert all(vars(module)[name] is it for name, it in kept.items() if not name.startswith("_"))


SMALL = Dimensions("torch", "cpu", num_parameters=25_450, batch_samples=32, is_dense=True)


@pytest.mark.parametrize(
    ("size", "num_copies", "together"),
    [
        (SMALL, 7, True),
        (SMALL, 4, False),
        (SMALL._replace(num_parameters=101_770), 16, False),
        (SMALL._replace(batch_samples=1024), 16, False),
        (SMALL._replace(is_dense=False), 16, False),
        (SMALL._replace(framework="jax"), 16, False),
        (SMALL._replace(device="cuda", num_parameters=101_770, is_dense=False), 2, True),
        (SMALL._replace(device="cuda", num_parameters=100_000_000), 32, False),
    ],
)
def test_the_rule_says_yes_only_where_it_was_measured_to_pay(size, num_copies, together):
    assert pays(size, num_copies) is together


def test_auto_trains_a_small_model_in_one_program_and_says_so():
    answer = sweep(problem("mlp"), np.geomspace(1e-4, 1e-2, 6), epochs=1)
    assert answer.vectorized == "auto: torch on cpu, 51 parameters, 7.33333 samples a step"
    assert not answer.warnings


def test_what_pays_and_cannot_be_done_is_trained_one_after_another_with_the_reason_in_the_warnings():
    many = np.geomspace(1e-4, 1e-2, 8)
    answer = sweep(problem(Recurrent), many, epochs=1)
    assert answer.vectorized is None
    assert [it for it in answer.warnings if "one after another, not in one program: PyTorch cannot batch" in it]
    assert_same_answer(sweep(problem(Recurrent), many, epochs=1, vectorized=False), answer)


def test_what_has_no_copies_is_refused_where_asked_for_and_no_matter_otherwise():
    with pytest.raises(UnsupportedProblemError, match="a QuadraticTrainable does not know how"):
        sweep(QuadraticTrainable(), [0.1, 1.0], epochs=1, vectorized=True)
    with pytest.raises(UnsupportedProblemError, match="the engine trains in other processes"):
        sweep(problem(), RATES, epochs=1, vectorized=True, engine=LocalEngine(num_workers=2))
    with pytest.raises(InvalidArgumentError, match="vectorized is 'yes'"):
        sweep(QuadraticTrainable(), [0.1, 1.0], epochs=1, vectorized="yes")
    answer = sweep(QuadraticTrainable(), [0.1, 1.0], epochs=1)
    assert (answer.vectorized, answer.warnings) == (None, [])


def timeless(answer):
    """What does not depend on a clock, trials by their number, numbers to rounding."""
    trials = [
        (it.number, it.learning_rate, it.state, it.epochs, it.reductions, it.stage)
        for it in sorted(answer.trials, key=lambda trial: trial.number)
    ]
    return trials, answer.verdict, answer.learning_rate, answer.epochs, pytest.approx(answer.cost, rel=1e-12)


def assert_same_answer(one, other, tolerance=1e-4):
    assert timeless(one) == timeless(other)
    for trial, again in zip(one.trials, sorted(other.trials, key=lambda it: it.number), strict=True):
        assert trial.curve.epochs.tolist() == again.curve.epochs.tolist()
        for name in trial.curve.metrics:
            if "loss" in name and trial.state is TrialState.COMPLETE:
                np.testing.assert_allclose(again.curve.values(name), trial.curve.values(name), rtol=tolerance)


RULES = [EarlyStopping(patience=4, min_delta=1e-3), ReduceOnPlateau(factor=0.5, patience=1, min_delta=0.01)]


def test_a_sweep_comes_to_the_same_answer_with_rules_a_schedule_and_a_divergence():
    several = [1e-4, 1e-2, 1e-1, WILD]
    call = {"epochs": 8, "stopping": RULES, "schedule": cosine, "refine": 1}
    expected = sweep(problem("convnet", "momentum"), several, vectorized=False, **call)
    trainable = problem("convnet", "momentum")
    before = str(plain(trainable.snapshot().state))
    events = []
    answer = sweep(trainable, several, vectorized=True, on_event=events.append, **call)
    assert answer.vectorized == "asked for"
    assert str(plain(trainable.snapshot().state)) == before
    assert_same_answer(expected, answer)
    assert any(trial.reductions for trial in answer.trials)
    assert {trial.state for trial in answer.trials} == {TrialState.COMPLETE, TrialState.DIVERGED}
    trainable.restore(answer.best)
    assert trainable.evaluate()["val_loss"] == pytest.approx(answer.value, rel=1e-6)
    finished = [event.trial.number for event in events if event.kind is EventKind.TRIAL_FINISHED]
    assert sorted(finished) == [0, 1, 2, 3, 4]
    assert type(answer).from_json(answer.to_json()).vectorized == "asked for"


def test_a_copy_that_diverges_touches_no_other():
    rates = rates_below_the_cliff(12)
    wild = np.concatenate([rates, np.full((12, 1), WILD)], axis=1)
    trainable = problem("mlp", "adamw", clip_norm=0.1)
    (quiet, _), (beside, _) = trained_together(trainable, rates), trained_together(trainable, wild)
    assert not np.isfinite(beside["loss"][-1, -1])
    np.testing.assert_allclose(beside["loss"][:, :-1], quiet["loss"], rtol=1e-6)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("again", [True, False])
def test_a_study_that_was_killed_goes_on_from_its_checkpoints_either_way(tmp_path, again):
    several, call = [1e-3, 1e-2, WILD], {"epochs": 5, "stopping": RULES}
    expected = sweep(problem("tied", "momentum"), several, vectorized=True, **call)
    seen = []

    def kill(event):
        seen.append(event)
        if event.trial is not None and event.trial.epochs == 3:
            raise Killed

    trainable = problem("tied", "momentum")
    before = str(plain(trainable.snapshot().state))
    with pytest.raises(Killed):
        sweep(trainable, several, vectorized=True, study=tmp_path / "study", on_event=kill, **call)
    assert str(plain(trainable.snapshot().state)) == before
    epochs = []
    answer = sweep(
        problem("tied", "momentum"),
        several,
        vectorized=again,
        study=tmp_path / "study",
        on_event=lambda event: epochs.append(event) if event.kind is EventKind.EPOCH else None,
        **call,
    )
    assert_same_answer(expected, answer)
    assert len(epochs) < 2 * 5


def jax_problem():
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    from learnrate.adapters.jax import JaxTrainable

    x, y = (it.numpy() for it in data(64))
    first, second = jax.random.split(jax.random.key(0))
    params = {"one": 0.5 * jax.random.normal(first, (4, 8)), "two": 0.5 * jax.random.normal(second, (8, 3))}

    def loss_fn(params, state, batch, key):
        inputs, targets = batch
        hidden = jax.nn.relu(inputs @ params["one"])
        hidden *= jax.random.bernoulli(key, 0.8, hidden.shape)
        losses = optax.softmax_cross_entropy_with_integer_labels(hidden @ params["two"], targets)
        return losses.mean(), {"average": 0.9 * state["average"] + 0.1 * hidden.mean()}

    settings = {"state": {"average": jax.numpy.zeros(())}, "key": jax.random.key(1), "batch_size": 8}
    return JaxTrainable(params, loss_fn, optax.adamw, (x, y), (x[:20], y[:20]), **settings)


@pytest.mark.slow  # compiles four programs; the copies of Keras on JAX are in the fast tests
def test_jax_comes_to_the_same_answer():
    several = [1e-4, 1e-3, 1e-2, 1e20, 1e25]
    expected = sweep(jax_problem(), several, epochs=4, stopping=RULES, vectorized=False)
    trainable = jax_problem()
    answer = sweep(trainable, several, epochs=4, stopping=RULES, vectorized=True)
    assert_same_answer(expected, answer, 1e-5)
    trainable.restore(answer.best)
    assert trainable.evaluate()["val_loss"] == pytest.approx(answer.value, rel=1e-6)


class Counting(QuadraticTrainable):
    """Keeps the weights of every evaluation, and the losses that it reported."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.evaluated, self.losses = [], []

    def train(self, learning_rates):
        report = super().train(learning_rates)
        self.losses.append(report["loss"])
        return report

    def evaluate(self):
        self.evaluated.append(self.weights.tobytes())
        return super().evaluate()


def test_no_weights_are_evaluated_twice():
    searched, swept = Counting(), Counting()
    select(searched, epochs=8, budget=3)
    sweep(swept, [0.01, 0.1, 1.0, 5.0], epochs=4, refine=1)
    for trainable in (searched, swept):
        assert len(trainable.evaluated) > 8
        assert len(set(trainable.evaluated)) == len(trainable.evaluated)


def test_a_training_that_diverged_ends_within_the_block():
    trainable = Counting(steps_per_epoch=500)
    sweep(trainable, [1e100], epochs=3, metric="loss")
    losses = np.concatenate(trainable.losses)
    assert len(losses) <= np.argmax(~np.isfinite(losses)) + BLOCK


def test_batches_are_the_users_own_tensors_at_every_rate():
    seen = set()

    def loss_fn(outputs, targets):
        seen.add(targets.data_ptr())
        return LOSS(outputs, targets)

    x, y = data(32)
    batches = [(x[at : at + 8], y[at : at + 8]) for at in range(0, 32, 8)]
    for vectorized in (False, True):
        model = MODELS["mlp"]()
        trainable = TorchTrainable(model, torch.optim.SGD(model.parameters(), lr=0.1), loss_fn, batches)
        sweep(trainable, RATES, epochs=1, vectorized=vectorized)
    assert seen == {targets.data_ptr() for _, targets in batches}


@pytest.mark.parametrize("together", [True, False])
def test_losses_reach_python_a_block_at_a_time(together):
    model, (x, y) = MODELS["convnet"](), data(32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainable = TorchTrainable(model, optimizer, LOSS, [(x[:16], y[:16]), (x[16:], y[16:])], clip_norm=1.0)
    trained = trainable.stack([trainable.snapshot()] * 3) if together else trainable
    rates = np.full((64, 3) if together else 64, 1e-3)
    with torch.autograd.profiler.profile() as profile:
        trained.train(rates)
    names = [event.name for event in profile.function_events]
    assert "aten::convolution" in names
    assert "aten::_local_scalar_dense" not in names


def test_select_trains_its_probes_in_one_program_and_answers_the_same():
    apart = select(problem(), epochs=20, vectorized=False)
    together = select(problem(), epochs=20, vectorized=True)
    assert together.vectorized == "asked for"
    assert apart.vectorized is None
    assert together.learning_rate == apart.learning_rate
    assert together.cost == apart.cost
    assert [(it.learning_rate, it.epochs, it.stage) for it in together.trials] == [
        (it.learning_rate, it.epochs, it.stage) for it in apart.trials
    ]
    assert together.value == pytest.approx(apart.value, rel=1e-3)


def test_select_says_before_any_work_that_its_probes_cannot_be_trained_together():
    with pytest.raises(UnsupportedProblemError, match="QuadraticTrainable"):
        select(QuadraticTrainable(), epochs=5, vectorized=True)
