"""The first eighteen problems, on which the methods of version 0.1.0 were chosen: of the design half for good."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch
from benchmarks.regret import data, models
from benchmarks.regret.problem import Family, Task, built
from torch import Tensor, nn

COSINE = {"warmup_fraction": 0.1, "final_fraction": 0.0}
STEP = {"milestones": (0.5, 0.75), "factor": 0.1}
ONE_CYCLE = {"pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4}


# Builders: a model, an optimizer at its default rate, and loaders, from a seed.


@cache
def _pretrained() -> dict[str, Tensor]:
    """Weights of a convolutional network that knows the digits 0 to 4."""
    pictures, labels = data.mnist()
    half = labels < 5
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000)
        model = models.convnet((8, 16), 14)
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for rows in torch.arange(int(half.sum())).split(64) * 4:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(pictures[half][rows]), labels[half][rows]).backward()
            optimizer.step()
    return model.state_dict()


def _flat(*sizes: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), models.mlp(*sizes))


def _fine_tuned_net() -> nn.Module:
    """The pretrained layers under a new head for all ten digits."""
    model = models.convnet((8, 16), 14)
    body = {name: tensor for name, tensor in _pretrained().items() if not name.startswith("7.")}
    model.load_state_dict(body, strict=False)
    return model


def _body_and_head(model: nn.Module) -> list[dict[str, Any]]:
    """The body learns at a tenth of the head's rate."""
    parameters = list(model.parameters())
    return [{"params": parameters[:-2], "lr": 1e-4}, {"params": parameters[-2:], "lr": 1e-3}]


def _deep_supervision(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    pictures, masks = batch
    shallow, deep = model.outputs(pictures)
    return (models.dice_loss(shallow, masks) + models.dice_loss(deep, masks)) / 2


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.mse_loss(outputs.reshape(targets.shape), targets)


_SGD = torch.optim.SGD
_MOMENTUM = partial(torch.optim.SGD, momentum=0.9)
_ADAM = torch.optim.Adam
_ADAMW = torch.optim.AdamW

TASKS: tuple[Task, ...] = (
    Task(
        "mlp",
        "MLP on MNIST digits, Adam",
        Family("mnist", "MLP", "cross-entropy"),
        epochs=10,
        steps_per_epoch=35,
        default_learning_rate=1e-3,
        build=partial(
            built, model=partial(_flat, 196, 128, 64, 10), optimizer=_ADAM, rows=data.mnist, train=2240, batch=64
        ),
    ),
    Task(
        "convnet",
        "ConvNet without normalisation on MNIST digits, SGD with momentum, step schedule",
        Family("mnist", "ConvNet", "cross-entropy"),
        epochs=8,
        steps_per_epoch=35,
        default_learning_rate=1e-3,
        schedule="step",
        schedule_settings=STEP,
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=partial(models.convnet, (8, 16), 14),
            optimizer=_MOMENTUM,
            rows=data.mnist,
            train=2240,
            batch=64,
        ),
    ),
    Task(
        "convnet_batchnorm",
        "ConvNet with BatchNorm on MNIST digits, SGD with momentum, one cycle",
        Family("mnist", "ConvNet", "cross-entropy"),
        epochs=8,
        steps_per_epoch=35,
        default_learning_rate=1e-3,
        schedule="one_cycle",
        schedule_settings=ONE_CYCLE,
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=partial(models.convnet, (8, 16), 14, normalise=True),
            optimizer=_MOMENTUM,
            rows=data.mnist,
            train=2240,
            batch=64,
        ),
    ),
    Task(
        "transformer",
        "Transformer language model on bytes of Python sources, AdamW, cosine with warm-up",
        Family("Python sources", "transformer", "next byte"),
        epochs=10,
        steps_per_epoch=20,
        default_learning_rate=1e-3,
        schedule="cosine",
        schedule_settings=COSINE,
        build=partial(
            built,
            model=partial(models.ByteTransformer, 32, 2, 16),
            optimizer=_ADAMW,
            rows=partial(data.next_bytes, 16, 576),
            train=320,
            batch=16,
            loss_fn=models.next_byte_loss,
        ),
    ),
    Task(
        "lstm",
        "LSTM that reads MNIST digits row by row, Adam",
        Family("mnist", "recurrent", "cross-entropy"),
        epochs=8,
        steps_per_epoch=35,
        default_learning_rate=1e-3,
        build=partial(
            built, model=partial(models.RowLstm, 14, 32), optimizer=_ADAM, rows=data.mnist, train=2240, batch=64
        ),
    ),
    Task(
        "unet_plus_plus",
        "U-Net++ under deep supervision with dice loss on noisy blobs, Adam",
        Family("noisy blobs", "U-Net", "dice"),
        epochs=10,
        steps_per_epoch=16,
        default_learning_rate=1e-3,
        build=partial(
            built,
            model=partial(models.UNetPlusPlus, 4),
            optimizer=_ADAM,
            rows=partial(data.blobs, 192, 20),
            train=128,
            batch=8,
            loss_fn=models.dice_loss,
            training_step=_deep_supervision,
        ),
    ),
    Task(
        "autoencoder",
        "Autoencoder of MNIST digits through 12 numbers, RMSprop",
        Family("mnist", "autoencoder", "squared error"),
        epochs=10,
        steps_per_epoch=35,
        default_learning_rate=1e-2,
        build=partial(
            built,
            model=partial(models.mlp, 196, 64, 12, 64, 196),
            optimizer=torch.optim.RMSprop,
            rows=data.to_itself,
            train=2240,
            batch=64,
            loss_fn=_squared_error,
        ),
    ),
    Task(
        "narrow_bowl",
        "Linear regression of condition number 300, plain SGD: the best rate lies beside the cliff",
        Family("narrow bowl", "linear", "squared error"),
        epochs=15,
        steps_per_epoch=20,
        default_learning_rate=1e-3,
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=partial(nn.Linear, 20, 1),
            optimizer=_SGD,
            rows=data.narrow_bowl,
            train=640,
            batch=32,
            loss_fn=_squared_error,
        ),
    ),
    Task(
        "logistic_regression",
        "Logistic regression on the breast cancer table, plain SGD",
        Family("breast cancer", "linear", "cross-entropy"),
        epochs=15,
        steps_per_epoch=20,
        default_learning_rate=1e-3,
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=partial(nn.Linear, 30, 2),
            optimizer=_SGD,
            rows=partial(data.table, "breast_cancer"),
            train=320,
            batch=16,
        ),
    ),
    Task(
        "deep_plain",
        "10 layers without normalisation on 8×8 digits, plain SGD, step schedule: a sharp cliff",
        Family("digits", "MLP", "cross-entropy"),
        epochs=12,
        steps_per_epoch=40,
        default_learning_rate=1e-3,
        schedule="step",
        schedule_settings=STEP,
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=lambda: nn.Sequential(nn.Flatten(), models.deep_plain(32, 10)),
            optimizer=_SGD,
            rows=data.digits,
            train=1280,
            batch=32,
        ),
    ),
    Task(
        "tiny",
        "MLP on 104 wines, smudged so that they can be learnt by heart, SGD with momentum, one cycle",
        Family("wine", "MLP", "cross-entropy"),
        epochs=20,
        steps_per_epoch=13,
        default_learning_rate=1e-3,
        schedule="one_cycle",
        schedule_settings=ONE_CYCLE,
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=partial(models.mlp, 13, 32, 3),
            optimizer=_MOMENTUM,
            rows=data.smudged_wine,
            train=104,
            batch=8,
        ),
    ),
    Task(
        "noisy_labels",
        "MLP on 8×8 digits of which 40 % carry a wrong label, Adam: it overfits",
        Family("digits", "MLP", "cross-entropy"),
        epochs=12,
        steps_per_epoch=32,
        default_learning_rate=1e-3,
        build=partial(
            built,
            model=partial(_flat, 64, 128, 10),
            optimizer=_ADAM,
            rows=partial(data.flipped_digits, 0.4),
            train=1024,
            batch=32,
        ),
    ),
    Task(
        "fine_tuning",
        "ConvNet that knows five digits, with a new head for all ten, AdamW, cosine with warm-up",
        Family("mnist", "ConvNet, fine-tuned", "cross-entropy"),
        epochs=8,
        steps_per_epoch=25,
        default_learning_rate=1e-3,
        schedule="cosine",
        schedule_settings=COSINE,
        build=partial(built, model=_fine_tuned_net, optimizer=_ADAMW, rows=data.mnist, train=1600, batch=64),
    ),
    Task(
        "gaussian_likelihood",
        "Mean and variance of a wave with uneven noise, Adam, cosine with warm-up: the loss falls below zero",
        Family("waves", "MLP", "Gaussian likelihood"),
        epochs=20,
        steps_per_epoch=20,
        default_learning_rate=1e-3,
        schedule="cosine",
        schedule_settings=COSINE,
        build=partial(
            built,
            model=partial(models.mlp, 1, 32, 32, 2, activation=nn.Tanh),
            optimizer=_ADAM,
            rows=data.uneven_noise,
            train=640,
            batch=32,
            loss_fn=models.gaussian_likelihood,
        ),
    ),
    Task(
        "parameter_groups",
        "MLP on 8×8 digits, its body at a tenth of its head's rate, AdamW, step schedule",
        Family("digits", "MLP", "cross-entropy"),
        epochs=10,
        steps_per_epoch=40,
        default_learning_rate=1e-3,
        schedule="step",
        schedule_settings=STEP,
        build=partial(
            built,
            model=partial(_flat, 64, 64, 64, 10),
            optimizer=_ADAMW,
            rows=data.digits,
            train=1280,
            batch=32,
            parameters=_body_and_head,
        ),
    ),
    Task(
        "accumulation",
        "ConvNet on 8×8 digits, four batches of 16 an update, Nesterov momentum, cosine with warm-up",
        Family("digits", "ConvNet", "cross-entropy"),
        epochs=10,
        steps_per_epoch=20,
        default_learning_rate=1e-3,
        schedule="cosine",
        schedule_settings=COSINE,
        lowest_learning_rate=1e-5,
        build=partial(
            built,
            model=partial(models.convnet, (12, 24), 8),
            optimizer=partial(_MOMENTUM, nesterov=True),
            rows=data.digits,
            train=1280,
            batch=16,
            accumulate=4,
        ),
    ),
    Task(
        "adagrad",
        "Next-byte MLP on Python sources, Adagrad",
        Family("Python sources", "MLP", "next byte"),
        epochs=10,
        steps_per_epoch=40,
        default_learning_rate=1e-2,
        build=partial(
            built,
            model=partial(models.NextByteMlp, 6, 16, 64),
            optimizer=torch.optim.Adagrad,
            rows=partial(data.last_byte, 6, 3584),
            train=2560,
            batch=64,
        ),
    ),
    Task(
        "factorisation",
        "Matrix factorisation from beside its saddle, plain SGD: rates far above one",
        Family("low-rank matrix", "factorisation", "squared error"),
        epochs=12,
        steps_per_epoch=40,
        default_learning_rate=1e-3,
        lowest_learning_rate=1e-3,
        build=partial(
            built,
            model=partial(models.Factorisation, 120, 90, 4),
            optimizer=_SGD,
            rows=data.ratings,
            train=5120,
            batch=128,
            loss_fn=_squared_error,
        ),
    ),
)
