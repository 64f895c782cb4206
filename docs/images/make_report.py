"""The picture of a report for the README and the site, from a real run: `python docs/images/make_report.py`.

It needs playwright and a Chromium, which the environment variable CHROMIUM names where it is not on the path.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import torch
from playwright.sync_api import sync_playwright
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import learnrate
from learnrate import schedules

TARGET = Path(__file__).parent / "report.png"


def problem() -> learnrate.TorchTrainable:
    """A small network on 1,797 handwritten digits."""
    torch.manual_seed(0)
    digits = load_digits()
    data = TensorDataset(torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target))
    train, validation = random_split(data, [1500, 297])
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    return learnrate.TorchTrainable(
        model,
        torch.optim.Adam(model.parameters(), lr=1e-3),
        nn.CrossEntropyLoss(),
        DataLoader(train, batch_size=64, shuffle=True),
        DataLoader(validation, batch_size=297),
        metrics={"accuracy": lambda outputs, targets: (outputs.argmax(1) == targets).float().mean()},
    )


def picture(page_path: Path) -> None:
    """Take the picture of a report's first screens."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1100, "height": 1180})
        page.goto(page_path.as_uri())
        page.wait_for_selector("html[data-drawn=yes]")
        page.wait_for_timeout(500)
        page.screenshot(path=str(TARGET))
        browser.close()


if __name__ == "__main__":
    torch.set_num_threads(1)
    answer = learnrate.select(problem(), epochs=12, budget=4.0, schedule=schedules.cosine)
    with tempfile.TemporaryDirectory() as folder:
        picture(answer.report(Path(folder) / "report.html"))
