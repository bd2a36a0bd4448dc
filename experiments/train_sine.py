"""Train the example model: an LSTM that continues a sine of any frequency and phase from 24 of its values.

    python -m experiments.train_sine

It writes rnncheck/demo/sine.keras, the model, and rnncheck/demo/inputs.npy, 8 sines that it was not trained on.
Training is seeded, but its last digits differ from one machine to the next.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rnncheck.frameworks.keras.session import quiet_stderr
from rnncheck.network import Array

DEMO = Path(__file__).parent.parent / "rnncheck" / "demo"
STEPS, UNITS, EPOCHS, SEED = 24, 16, 30, 0


def sines(samples: int, rng: np.random.Generator) -> Array:
    """Return sines with 5 to 25 steps a period and a little noise, (N, T + 1, 1)."""
    period = rng.uniform(5.0, 25.0, size=(samples, 1))
    phase = rng.uniform(0.0, 2.0 * np.pi, size=(samples, 1))
    values = np.sin(2.0 * np.pi * np.arange(STEPS + 1) / period + phase)
    noisy: Array = (values + 0.02 * rng.normal(size=values.shape)).astype(np.float32)[..., np.newaxis]
    return noisy


def train(rng: np.random.Generator) -> tuple[Any, float]:
    """Return the trained model and its root mean square error on sines that it has not seen."""
    import keras

    keras.utils.set_random_seed(SEED)
    model = keras.Sequential(
        [
            keras.Input((STEPS, 1), name="sine"),
            keras.layers.LSTM(UNITS, name="lstm"),
            keras.layers.Dense(1, name="next_value"),
        ],
        name="sine",
    )
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
    seen, unseen = sines(4096, rng), sines(512, rng)
    model.fit(seen[:, :-1], seen[:, -1], batch_size=64, epochs=EPOCHS, verbose=0)
    error = model.predict(unseen[:, :-1], verbose=0) - unseen[:, -1]
    return model, float(np.sqrt(np.mean(np.square(error))))


def main() -> None:
    """Train, save, and say how well it learned."""
    with quiet_stderr():
        import keras  # noqa: F401 - so that its start-up messages are held back
    rng = np.random.default_rng(SEED)
    model, error = train(rng)
    model.save(DEMO / "sine.keras", include_optimizer=False)
    np.save(DEMO / "inputs.npy", sines(8, rng)[:, :-1])
    print(f"sine.keras: root mean square error {error:.3f} on sines that it has not seen")


if __name__ == "__main__":
    main()
