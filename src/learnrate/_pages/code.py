"""The lines to paste into a training script: the learning rate, its schedule, and for how many epochs."""

from __future__ import annotations

import keyword
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from learnrate._numbers import rate, short
from learnrate.errors import InvalidArgumentError
from learnrate.results import Recommendation, Search, Sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FRAMEWORKS = {"torch": "PyTorch", "keras": "Keras", "sklearn": "scikit-learn", "jax": "JAX (optax)"}

_WARMUP = "warmup_steps = max(1, round({fraction} * total_steps))"


class Plan(NamedTuple):
    """A schedule as the lines see it: its maker's name and settings, and the epochs that it runs over."""

    name: str
    settings: Mapping[str, Any]
    custom: bool
    epochs: int

    @property
    def warmup(self) -> float:
        """The fraction of the run that warms up."""
        return float(self.settings.get("warmup_fraction") or 0.0)

    @property
    def by_epoch(self) -> bool:
        """Whether the rate changes once an epoch."""
        return self.settings.get("num_epochs") is not None

    @property
    def steady(self) -> bool:
        """Whether the rate never changes."""
        return self.name == "constant" and not self.warmup and not self.custom

    def number(self, setting: str, default: float = 0.0) -> float:
        """Return a setting that is a number."""
        value = self.settings.get(setting)
        return default if value is None else float(value)

    def _matters(self, name: str, value: Any) -> bool:
        """Whether a setting is not what its maker has by default; one of them warms up by default."""
        return value is not None and ((name, value) != ("warmup_fraction", 0.0) or self.name == "warmup_stable_decay")

    def made(self) -> list[str]:
        """Return the lines that make the schedule from `learning_rate` and `total_steps`, as it was tried."""
        if self.custom:
            name = self.name if self.name.isidentifier() and not self.name.startswith("_") else "make_schedule"
            return [f"schedule = {name}(learning_rate, total_steps)  # your own, as you passed it"]
        given = "".join(f", {name}={value!r}" for name, value in self.settings.items() if self._matters(name, value))
        return [
            "from learnrate import schedules",
            f'schedule = schedules.by_name("{self.name}"{given})(learning_rate, total_steps)',
        ]


def plan_of(answer: Recommendation | Sweep | Search) -> Plan | None:
    """Return the schedule that a result was found with; None where the result does not say.

    Reads what `learnrate.schedules.describe` gives, and the same with the settings beside the name.
    """
    described: Any = answer.schedule if isinstance(answer, Recommendation) else answer.settings.get("schedule")
    if isinstance(described, str):
        described = {"name": described}
    if not described or "name" not in described:
        return None
    beside = {key: value for key, value in described.items() if key not in ("name", "custom", "settings")}
    settings: dict[str, Any] = described.get("settings", beside)
    return Plan(str(described["name"]), settings, bool(described.get("custom", False)), answer.horizon)


def frameworks(result: Recommendation | Sweep | Search) -> list[tuple[str, str]]:
    """Return the frameworks with their titles, that of the problem first."""
    return sorted(FRAMEWORKS.items(), key=lambda one: one[0] != result.framework)


def lines_for(recommendation: Recommendation | Sweep | Search, framework: str | None = None) -> str:
    """Return the lines that train with the answer: its learning rate, its schedule, its number of epochs.

    Of a function or a command the learning rate alone, since it makes its schedule itself. Else the framework's own
    schedule where it has the same one, and this library's otherwise. The optimizer stays the
    user's: a learning rate is the rate of the optimizer that it was found with.

    Args:
        recommendation: The answer, with a learning rate.
        framework: "torch", "keras", "sklearn" or "jax"; by default the problem's own, "torch" where it has none.

    Raises:
        InvalidArgumentError: If the framework is none of these, or the answer has no learning rate.
    """
    framework = framework or recommendation.framework or "torch"
    if framework not in FRAMEWORKS:
        msg = f"there are no lines for framework {framework!r}; choose one of {', '.join(FRAMEWORKS)}"
        raise InvalidArgumentError(msg)
    if recommendation.learning_rate is None:
        verdict = recommendation.verdict
        msg = f"the answer has no learning rate to write down: {verdict.message}; {verdict.advice}"
        raise InvalidArgumentError(msg)
    if takes_one_rate(recommendation):
        return f"learning_rate = {rate(recommendation.learning_rate)}\n"
    plan = plan_of(recommendation) or Plan("constant", {}, custom=False, epochs=recommendation.horizon)
    best = recommendation.epochs
    kept = "" if best is None or best >= plan.epochs else f"  # at its best after {short(best)}: keep those weights"
    head = [f"learning_rate = {rate(recommendation.learning_rate)}", f"epochs = {plan.epochs}{kept}"]
    return "\n".join([*head, *_LINES[framework](plan)]) + "\n"


def takes_one_rate(answer: Recommendation | Sweep | Search) -> bool:
    """Whether a function or a command was asked, which makes its schedule itself.

    It has no framework, and nobody can evaluate it before it trains.
    """
    return (
        isinstance(answer, Recommendation)
        and answer.framework is None
        and answer.untrained is None
        and not answer.schedule.get("custom")
    )


def lines_for_values(result: Search, framework: str | None = None) -> str:
    """Return the lines that set a search's best hyperparameters, and those that train at its learning rate.

    Without a framework, and where the problem has none, they set the learning rate and leave the rest to the script.

    Raises:
        InvalidArgumentError: If there are no best hyperparameters, or no learning rate for the framework's lines.
    """
    if result.hyperparameters is None:
        msg = f"the search has no answer to write down: {result.verdict.message}; {result.verdict.advice}"
        raise InvalidArgumentError(msg)
    own = {name: value for name, value in (result.hyperparameters or {}).items() if name != "learning_rate"}
    if all(name.isidentifier() and not keyword.iskeyword(name) for name in own):
        lines = [f"{name} = {_literal(value)}" for name, value in own.items()]
    else:
        lines = ["hyperparameters = {", *(f"    {name!r}: {_literal(value)}," for name, value in own.items()), "}"]
    known = result.learning_rate
    framework = framework or (None if known is None else result.framework)
    if framework is not None:
        return "\n".join([*lines, lines_for(result, framework)])
    lines += [] if known is None else [f"learning_rate = {rate(known)}"]
    best = result.epochs
    kept = "" if best is None or best >= result.horizon else f"  # at its best after {short(best)}: keep those weights"
    return "\n".join([*lines, f"epochs = {result.horizon}{kept}"]) + "\n"


def _literal(value: Any) -> str:
    if not isinstance(value, float) or not math.isfinite(value):
        return repr(value)
    text = short(value, 4)
    return text if "." in text or "e" in text else f"{text}.0"  # a float stays one


def _torch(plan: Plan) -> list[str]:
    lines = [
        'largest = max(group["lr"] for group in optimizer.param_groups)',
        "for group in optimizer.param_groups:",
        '    group["lr"] *= learning_rate / largest',
    ]
    if plan.steady:
        return lines
    native = None if plan.by_epoch and plan.settings["num_epochs"] != plan.epochs else _torch_native(plan)
    by_epoch = plan.by_epoch and native is not None
    lines.insert(0, "from torch.optim import lr_scheduler")
    lines.append("total_steps = epochs" if by_epoch else "total_steps = epochs * len(train_loader)")
    if native is None:
        ours = "lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step) / learning_rate)"
        lines += [*plan.made(), f"scheduler = {ours}"]
    elif _falls_along_a_line(plan):
        lines += [_fall_steps(plan), f"scheduler = lr_scheduler.{native}"]
    elif plan.warmup:
        lines += [
            _WARMUP.format(fraction=plan.warmup),
            "scheduler = lr_scheduler.SequentialLR(",
            "    optimizer,",
            "    [",
            "        lr_scheduler.LinearLR(optimizer, 1 / warmup_steps, total_iters=warmup_steps - 1),",
            f"        lr_scheduler.{native},",
            "    ],",
            "    milestones=[warmup_steps],",
            ")",
        ]
    else:
        lines.append(f"scheduler = lr_scheduler.{native}")
    return [*lines, f"# call scheduler.step() after each {'epoch' if by_epoch else 'optimizer.step()'}"]


def _torch_native(plan: Plan) -> str | None:  # noqa: PLR0911  # one answer a schedule
    """Return torch's own scheduler of the same schedule, after its warm-up; None where it has none."""
    rest = _rest(plan)
    final = plan.number("final_fraction")
    match plan.name:
        case "constant":
            return "ConstantLR(optimizer, factor=1.0)"
        case "linear":
            return f"LinearLR(optimizer, 1.0, {final:g}, total_iters={_fall(plan)})"
        case "step" if plan.settings.get("every_fraction"):
            every = plan.number("every_fraction")
            return f"StepLR(optimizer, max(1, round({every:g} * total_steps)), gamma={plan.number('factor', 0.1):g})"
        case "step":
            drops = ", ".join(_drops(plan, less="warmup_steps"))
            return f"MultiStepLR(optimizer, [{drops}], gamma={plan.number('factor', 0.1):g})"
        case "exponential":
            return f"ExponentialLR(optimizer, gamma={_ratio(plan)})"
        case "polynomial" if not final:
            return f"PolynomialLR(optimizer, {rest}, power={plan.number('power', 0.9):g})"
        case "cosine":
            return f"CosineAnnealingLR(optimizer, {rest}, eta_min={_floor(final)})"
        case "warmup_stable_decay" if _falls_along_a_line(plan):
            return "LambdaLR(optimizer, lambda step: min(1.0, (total_steps - step) / fall_steps))"
        case "one_cycle" if not plan.warmup:
            return _torch_one_cycle(plan)
        case _:
            return None


def _falls_along_a_line(plan: Plan) -> bool:
    """Whether the rate is constant and then falls along a line to zero."""
    straight = plan.settings.get("shape") == "linear" and not plan.number("final_fraction")
    return plan.name == "warmup_stable_decay" and straight and not plan.warmup


def _fall_steps(plan: Plan) -> str:
    """Return the line that says over how many steps the rate falls."""
    return f"fall_steps = round({plan.number('decay_fraction'):.6g} * total_steps)"


def _torch_one_cycle(plan: Plan) -> str | None:
    start, final, shape = plan.number("start_fraction"), plan.number("final_fraction"), plan.settings.get("shape")
    if not start or not final or shape not in ("cosine", "linear"):
        return None
    shares = f"pct_start={plan.number('rise_fraction', 0.3):g}, div_factor={1 / start:g}"
    shares += f', final_div_factor={start / final:g}, anneal_strategy="{"cos" if shape == "cosine" else "linear"}"'
    return f"OneCycleLR(optimizer, learning_rate, total_steps, {shares}, cycle_momentum=False)"


def _keras(plan: Plan) -> list[str]:
    if plan.steady:
        return ["model.optimizer.learning_rate = learning_rate", "# then model.fit(..., epochs=epochs)"]
    native = _keras_native(plan)
    if native is None and plan.by_epoch and plan.settings["num_epochs"] == plan.epochs:
        return [
            "total_steps = epochs",
            *plan.made(),
            "callback = keras.callbacks.LearningRateScheduler(lambda epoch: schedule(epoch))",
            "# then model.fit(..., epochs=epochs, callbacks=[callback])",
        ]
    lines = ["total_steps = epochs * steps_per_epoch  # the batches of an epoch"]
    if native is None and _falls_along_a_line(plan) and not plan.by_epoch:
        lines += [
            _fall_steps(plan),
            "class Schedule(keras.optimizers.schedules.LearningRateSchedule):",
            "    def __call__(self, step):",
            '        left = (total_steps - keras.ops.cast(step, "float32")) / fall_steps',
            "        return learning_rate * keras.ops.minimum(1.0, left)",
        ]
    elif native is None:
        lines += [
            *plan.made(),
            "class Schedule(keras.optimizers.schedules.LearningRateSchedule):",
            "    def __call__(self, step):",
            '        rates = keras.ops.convert_to_tensor(schedule.values(), "float32")',
            '        return keras.ops.take(rates, keras.ops.minimum(keras.ops.cast(step, "int32"), total_steps - 1))',
        ]
    else:
        lines += [_WARMUP.format(fraction=plan.warmup)] if plan.warmup else []
        lines.append(f"schedule = keras.optimizers.schedules.{native}")
    made = "Schedule()" if native is None else "schedule"
    return [*lines, f"model.optimizer.learning_rate = {made}", "# then model.fit(..., epochs=epochs)"]


def _keras_native(plan: Plan) -> str | None:  # noqa: PLR0911  # one answer a schedule
    final = plan.number("final_fraction")
    if plan.by_epoch or (plan.warmup and plan.name != "cosine"):
        return None
    match plan.name:
        case "linear":
            return f"PolynomialDecay(learning_rate, {_fall(plan)}, end_learning_rate={_floor(final)})"
        case "polynomial":
            power = plan.number("power", 0.9)
            return f"PolynomialDecay(learning_rate, total_steps, end_learning_rate={_floor(final)}, power={power:g})"
        case "exponential" if final:
            return f"ExponentialDecay(learning_rate, total_steps, decay_rate={final:g})"
        case "inverse_time":
            return f"InverseTimeDecay(learning_rate, total_steps, decay_rate={1 / final - 1:g})"
        case "step" if not plan.settings.get("every_fraction"):
            drops = _drops(plan)
            factor = plan.number("factor", 0.1)
            held = ", ".join(f"{factor**place:g} * learning_rate" for place in range(len(drops) + 1))
            return f"PiecewiseConstantDecay([{', '.join(f'{drop} - 1' for drop in drops)}], [{held}])"
        case "cosine" if plan.warmup:
            warm = "warmup_target=learning_rate, warmup_steps=warmup_steps"
            return f"CosineDecay(learning_rate / warmup_steps, {_rest(plan)}, alpha={final:g}, {warm})"
        case "cosine":
            return f"CosineDecay(learning_rate, total_steps, alpha={final:g})"
        case _:
            return None


def _jax(plan: Plan) -> list[str]:
    use = "# then give `schedule` to the optimizer that was tried, as its learning rate: optax.adam(schedule)"
    if plan.steady:
        return ["schedule = learning_rate", use]
    native = None if plan.by_epoch else _optax_native(plan)
    lines = ["total_steps = epochs * steps_per_epoch  # the updates of an epoch"]
    if native is None:
        return [
            *lines,
            *(line.replace("schedule = ", "planned = ") for line in plan.made()),
            "rates = jax.numpy.asarray([float(planned(step)) for step in range(total_steps)])",
            "schedule = lambda step: rates[jax.numpy.minimum(step, total_steps - 1)]",
            use,
        ]
    if _falls_along_a_line(plan):
        lines += [
            _fall_steps(plan),
            "kept = optax.constant_schedule(learning_rate)",
            "fall = optax.linear_schedule(learning_rate, 0.0, fall_steps)",
        ]
    if not plan.warmup:
        return [*lines, f"schedule = optax.{native}", use]
    rise = "optax.linear_schedule(learning_rate / warmup_steps, learning_rate, warmup_steps - 1)"
    joined = f"schedule = optax.join_schedules([{rise}, optax.{native}], [warmup_steps])"
    return [*lines, _WARMUP.format(fraction=plan.warmup), joined, use]


def _optax_native(plan: Plan) -> str | None:  # noqa: PLR0911  # one answer a schedule
    rest = _rest(plan)
    final = plan.number("final_fraction")
    match plan.name:
        case "constant":
            return "constant_schedule(learning_rate)"
        case "linear":
            return f"linear_schedule(learning_rate, {_floor(final)}, {_fall(plan)})"
        case "warmup_stable_decay" if _falls_along_a_line(plan):
            return "join_schedules([kept, fall], [total_steps - fall_steps])"
        case "polynomial":
            return f"polynomial_schedule(learning_rate, {_floor(final)}, {plan.number('power', 0.9):g}, {rest})"
        case "exponential" if final:
            return f"exponential_decay(learning_rate, {rest}, {final:g})"
        case "step" if not plan.settings.get("every_fraction"):
            factor = plan.number("factor", 0.1)
            drops = ", ".join(f"{drop}: {factor:g}" for drop in _drops(plan, less="warmup_steps"))
            return f"piecewise_constant_schedule(learning_rate, {{{drops}}})"
        case "cosine":
            return f"cosine_decay_schedule(learning_rate, {rest}, alpha={final:g})"
        case _:
            return None


def _sklearn(plan: Plan) -> list[str]:
    if plan.steady:
        return [
            "model.set_params(learning_rate_init=learning_rate, max_iter=epochs)  # MLPClassifier, MLPRegressor",
            '# SGDClassifier and its kin: set_params(learning_rate="constant", eta0=learning_rate, max_iter=epochs)',
        ]
    return [
        "total_steps = epochs  # scikit-learn has no such schedule: set the rate before each epoch",
        *plan.made(),
        "model.set_params(learning_rate_init=schedule(0))  # MLPClassifier, MLPRegressor",
        "for epoch in range(epochs):",
        "    if epoch > 0:",
        "        model._optimizer.learning_rate = model._optimizer.learning_rate_init = schedule(epoch)",
        "    model.partial_fit(x_train, y_train)  # a classifier's first call also wants classes=",
    ]


def _rest(plan: Plan) -> str:
    return "total_steps - warmup_steps" if plan.warmup else "total_steps"


def _fall(plan: Plan) -> str:
    """Return over how many steps a linear schedule falls."""
    end = plan.number("decay_fraction", 1.0)
    if end == 1:
        return _rest(plan)
    return f"round({end:g} * total_steps)" + (" - warmup_steps" if plan.warmup else "")


def _drops(plan: Plan, less: str = "") -> list[str]:
    """Return at which steps a stepped schedule drops."""
    off = f" - {less}" if less and plan.warmup else ""
    marks: list[float] = plan.settings.get("milestones") or [0.5, 0.75]
    return [f"round({mark:g} * total_steps){off}" for mark in marks]


def _ratio(plan: Plan) -> str:
    """Return by what an exponential schedule multiplies at each step."""
    factor = plan.settings.get("factor")
    return f"{factor:g}" if factor else f"{plan.number('final_fraction', 0.01):g} ** (1 / ({_rest(plan)}))"


def _floor(final: float) -> str:
    return f"{final:g} * learning_rate" if final else "0.0"


_LINES: dict[str, Callable[[Plan], list[str]]] = {"torch": _torch, "keras": _keras, "sklearn": _sklearn, "jax": _jax}
