"""Segmentation of blobs at four learning rates, stopped early, lowered on a plateau, the best weights kept.

    python examples/segmentation_torch.py --output segmentation.png     # U-Net++, an hour or two of one core
    python examples/segmentation_torch.py --network resnet34            # a U-Net whose encoder is a ResNet-34
    python examples/segmentation_torch.py --size 32 --images 96 --epochs 40     # minutes

Dice loss, Adam, batches of 8. Each training ends when the validation loss has not improved for 15 epochs; its rate is
halved when it has not for 3. Needs monai: pip install monai
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from monai.losses import DiceLoss
from monai.networks.nets import BasicUNetPlusPlus, FlexibleUNet
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import learnrate
from learnrate.stopping import EarlyStopping, ReduceOnPlateau

RATES = [2e-6, 2e-5, 1e-4, 5e-4]
RULES = [
    EarlyStopping(patience=15, min_delta=1e-4),
    ReduceOnPlateau(factor=0.5, patience=3, cooldown=0, min_learning_rate=1e-8),
]


def make_blobs(images: int, size: int, seed: int) -> TensorDataset:
    """Draw grey images of one to five soft blobs in noise, shape (images, 1, size, size), and the masks of the blobs.

    Stripes of another brightness lie over them, so that a threshold alone does not find the blobs.
    """
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size] / size
    pictures, masks = np.zeros((2, images, 1, size, size), np.float32)
    for number in range(images):
        picture, mask = pictures[number, 0], masks[number, 0]  # views: what is drawn on them is kept
        for _ in range(generator.integers(1, 6)):
            (row, column), radii = generator.uniform(0.1, 0.9, 2), generator.uniform(0.05, 0.2, 2)
            distance = ((rows - row) / radii[0]) ** 2 + ((columns - column) / radii[1]) ** 2
            picture += generator.uniform(0.5, 1.0) * np.exp(-distance)
            mask[distance < 1] = 1
        angle, phase = generator.uniform(0, 2 * np.pi, 2)
        picture += 0.4 * np.sin(20 * (np.cos(angle) * rows + np.sin(angle) * columns) + phase)
        picture += generator.normal(0, 0.3, picture.shape)
    return TensorDataset(torch.from_numpy(pictures), torch.from_numpy(masks))


def make_network(name: str) -> nn.Module:
    if name == "resnet34":
        return FlexibleUNet(in_channels=1, out_channels=1, backbone="resnet34", pretrained=False)
    return BasicUNetPlusPlus(spatial_dims=2, in_channels=1, out_channels=1, features=(16, 16, 32, 64, 128, 16))


def build(network: str = "unetplusplus", images: int = 400, size: int = 64) -> learnrate.TorchTrainable:
    torch.manual_seed(0)
    model = make_network(network)
    held_out = images // 4
    return learnrate.TorchTrainable(
        model,
        torch.optim.Adam(model.parameters()),
        dice_loss,
        DataLoader(make_blobs(images - held_out, size, seed=1), batch_size=8, shuffle=True, drop_last=True),
        DataLoader(make_blobs(held_out, size, seed=2), batch_size=32),
    )


def dice_loss(outputs: torch.Tensor | list[torch.Tensor], masks: torch.Tensor) -> torch.Tensor:
    # U-Net++ returns a list: one output, or with deep supervision one from each depth
    return DiceLoss(sigmoid=True)(outputs[0] if isinstance(outputs, list) else outputs, masks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=["unetplusplus", "resnet34"], default="unetplusplus")
    parser.add_argument("--images", type=int, default=400, help="a quarter of them validates")
    parser.add_argument("--size", type=int, default=64, help="their height and width, a multiple of 32")
    parser.add_argument("--epochs", type=int, default=100, help="at most")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--output", type=Path, default=Path("segmentation.png"), help="the charts: .png, .svg, .html")
    parser.add_argument("--weights", type=Path, help="where to write the best weights")
    parser.add_argument("--json", type=Path, help="the result as JSON")
    arguments = parser.parse_args()

    problem = build(arguments.network, arguments.images, arguments.size)
    result = learnrate.sweep(problem, arguments.rates, epochs=arguments.epochs, stopping=RULES)
    print(result)
    for trial in result.trials:
        lowered = ", ".join(f"{epoch:g}" for epoch in trial.reductions) or "never"
        print(f"\n{trial.learning_rate:g}: {trial.epochs:g} epochs, lowered after {lowered}; {trial.diagnosis}")
    learnrate.charts.learning_curves(result.trials, "loss").save(arguments.output)
    if arguments.weights and result.best is not None:
        problem.restore(result.best)
        torch.save(problem.model.state_dict(), arguments.weights)
    if arguments.json:
        arguments.json.write_text(result.to_json())


if __name__ == "__main__":
    main()
