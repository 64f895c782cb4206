"""Problems of other frameworks, asked in this process and of two workers: python _engine_frameworks.py WHICH FOLDER."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ |= {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import numpy as np

import learnrate
from _engine_problems import descendants, timeless

X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
Y = np.sin(X[:, :1])

SCRIPT = """
import sys
rate, epochs, weight = float(sys.argv[1]), int(sys.argv[2]), 1.0
for epoch in range(1, epochs + 1):
    weight -= rate * weight
    print(f"epoch {epoch}: val_loss {weight**2!r}", flush=True)
"""


def keras_problem() -> Any:
    import keras

    keras.utils.set_random_seed(1)
    body = [keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.2, seed=1), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((4,)), *body])
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    return learnrate.KerasTrainable(model, X, Y, validation_data=(X[:32], Y[:32]), batch_size=16)


def jax_problem() -> Any:
    import jax.numpy as jnp
    import optax

    def loss_fn(params: Any, batch: Any) -> Any:
        inputs, targets = batch
        return jnp.mean((jnp.tanh(inputs @ params["first"]) @ params["second"] - targets) ** 2)

    params = {
        "first": jnp.array(np.random.default_rng(1).normal(size=(4, 8)), jnp.float32),
        "second": jnp.zeros((8, 1)),
    }
    return learnrate.JaxTrainable(params, loss_fn, optax.adam, (X, Y), (X[:32], Y[:32]), batch_size=16)


def command_problem(folder: Path) -> Any:
    (folder / "train.py").write_text(SCRIPT)
    command = [sys.executable, str(folder / "train.py"), "{learning_rate}", "{epochs}"]
    return learnrate.CommandTrainable(command)


def main(which: str, folder: Path) -> None:
    make: Any = {"keras": keras_problem, "jax": jax_problem, "command": lambda: command_problem(folder)}[which]
    rates = [1e-3, 1e-2]
    expected = learnrate.sweep(make(), rates, epochs=2)
    engine = learnrate.LocalEngine(num_workers=2)
    for carried in (make(), make):
        answer = learnrate.sweep(carried, rates, epochs=2, engine=engine, study=folder / f"study-{callable(carried)}")
        assert timeless(answer) == timeless(expected), f"{answer.to_json()}\n{expected.to_json()}"
    assert not descendants()
    print("the same answer")  # noqa: T201  # for the test that runs this


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
