"""A training script as many are: a small PyTorch network on scikit-learn's digits, told its learning rate by an option.

It knows nothing of learnrate. It is asked for its learning rate from a shell, as it stands:

    learnrate select --epochs 20 -- python examples/argparse_script.py --lr {learning_rate} --epochs {epochs}
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)

    digits = load_digits()
    split = train_test_split(digits.data / 16.0, digits.target, test_size=0.25, random_state=0)
    x, x_val, y, y_val = (
        torch.as_tensor(part, dtype=torch.float32 if part.ndim > 1 else torch.int64) for part in split
    )
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(128, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    loss_fn = torch.nn.CrossEntropyLoss()

    for epoch in range(options.epochs):
        model.train()
        total = 0.0
        for batch in torch.randperm(len(x)).split(options.batch_size):
            optimizer.zero_grad()
            loss = loss_fn(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        model.eval()
        with torch.no_grad():
            scores = model(x_val)
            accuracy = (scores.argmax(1) == y_val).float().mean()
            print(
                f"epoch {epoch + 1}/{options.epochs}: loss {total / len(x):.4f}, "
                f"val_loss {loss_fn(scores, y_val):.4f}, val_accuracy {accuracy:.4f}"
            )


if __name__ == "__main__":
    main()
