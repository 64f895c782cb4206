"""Convolutional networks on Fashion-MNIST: plain ones, residual ones with BatchNorm, and a fine-tuned one."""

from __future__ import annotations

from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from benchmarks.regret.fashion import fashion
from benchmarks.regret.problem import Family, Task, built
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

COSINE = {"warmup_fraction": 0.1, "final_fraction": 0.0}
ONE_CYCLE = {"pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4}
TRAPEZOID = {"warmup_fraction": 0.05, "decay_fraction": 0.2}


def _plain(channels: tuple[int, ...], size: int, classes: int = 10) -> nn.Sequential:
    """3×3 convolutions of stride 2, so that each halves the picture, and a linear head."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((1, *channels)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU()]
        size = (size + 1) // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * size * size, classes))


class _Block(nn.Module):
    """Two 3×3 convolutions under BatchNorm, added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, picture: Tensor) -> Tensor:
        return torch.relu(picture + self.body(picture))


def _residual(width: int, blocks: int, stride: int) -> nn.Sequential:
    """A strided convolution, residual blocks, and a linear head over the means of the channels."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        *(_Block(width) for _ in range(blocks)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 10),
    )


@cache
def _pretrained() -> dict[str, Tensor]:
    """The body of a convolutional network that tells five kinds of clothes apart, on pictures of its own."""
    pictures, labels = fashion(14, 6400, skip=20000)
    half = labels < 5
    pictures, labels = pictures[half], labels[half]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1001)
        model = _plain((8, 16), 14, 5)
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(2):
            for rows in torch.randperm(len(labels)).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(pictures[rows]), labels[rows]).backward()
                optimizer.step()
    return {name: tensor.detach() for name, tensor in model[:-1].state_dict().items()}


def _fine_tuned_net() -> nn.Module:
    """The pretrained body under a new head for all ten kinds."""
    model = _plain((8, 16), 14)
    model[:-1].load_state_dict(_pretrained())
    return model


_MOMENTUM = partial(torch.optim.SGD, momentum=0.9)

TASKS: tuple[Task, ...] = (
    Task(
        "fashion_convnet",
        "ConvNet without normalisation on Fashion-MNIST, SGD with momentum, cosine with warm-up",
        Family("fashion", "ConvNet", "cross-entropy"),
        epochs=4,
        steps_per_epoch=80,
        default_learning_rate=1e-3,
        schedule="cosine",
        schedule_settings=COSINE,
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=partial(_plain, (8, 16), 14),
            optimizer=_MOMENTUM,
            rows=partial(fashion, 14, 3520),
            train=2560,
            batch=32,
        ),
    ),
    Task(
        "fashion_convnet_wide",
        "Wider ConvNet on Fashion-MNIST of 7×7 pixels, Adam, judged on 2,000 pictures",
        Family("fashion", "ConvNet", "cross-entropy"),
        epochs=3,
        steps_per_epoch=100,
        default_learning_rate=1e-3,
        build=partial(
            built,
            model=partial(_plain, (12, 24), 7),
            optimizer=torch.optim.Adam,
            rows=partial(fashion, 7, 5200),
            train=3200,
            batch=32,
            validation=2000,
        ),
    ),
    Task(
        "fashion_residual_nesterov",
        "Residual ConvNet with BatchNorm on Fashion-MNIST, Nesterov momentum, one cycle",
        Family("fashion", "residual ConvNet", "cross-entropy"),
        epochs=5,
        steps_per_epoch=50,
        default_learning_rate=1e-3,
        schedule="one_cycle",
        schedule_settings=ONE_CYCLE,
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=partial(_residual, 8, 1, 2),
            optimizer=partial(_MOMENTUM, nesterov=True),
            rows=partial(fashion, 14, 1760),
            train=800,
            batch=16,
        ),
    ),
    Task(
        "fashion_residual_adamw",
        "Residual ConvNet with BatchNorm on Fashion-MNIST of 7×7 pixels, AdamW, warm-up, plateau and decay",
        Family("fashion", "residual ConvNet", "cross-entropy"),
        epochs=6,
        steps_per_epoch=45,
        default_learning_rate=1e-3,
        schedule="warmup_stable_decay",
        schedule_settings=TRAPEZOID,
        build=partial(
            built,
            model=partial(_residual, 8, 1, 2),
            optimizer=torch.optim.AdamW,
            rows=partial(fashion, 7, 2040),
            train=1080,
            batch=24,
        ),
    ),
    Task(
        "fashion_fine_tuning",
        "ConvNet that knows five kinds of clothes, with a new head for all ten, SGD with momentum, cosine with warm-up",
        Family("fashion", "ConvNet, fine-tuned", "cross-entropy"),
        epochs=5,
        steps_per_epoch=50,
        default_learning_rate=1e-3,
        schedule="cosine",
        schedule_settings=COSINE,
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=_fine_tuned_net,
            optimizer=_MOMENTUM,
            rows=partial(fashion, 14, 2560),
            train=1600,
            batch=32,
        ),
    ),
)
