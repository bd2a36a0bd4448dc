"""Write the fixtures that are recorded, not given: `make fixtures`.

fixtures/notebook.json is what the teaching notebook printed, and is given. fixtures/notebook_run.npz is what Keras
computes with those weights on seeded inputs: inputs (N, T, D), states (N, T, M), outputs (N, K), and the versions.
rnncheck/demo/notebook.keras is that model. notebook_inputs.npy beside it leads to the outputs that the notebook
printed; its own inputs are not known.
rnncheck/demo/sine.keras is a trained model: see experiments/train_sine.py. sine.onnx is what Keras exports of it.
The arrays beside it are what a port of it to C computes, right and with one mistake: see experiments/port.py.
fixtures/keras2 is what Keras 2 writes and computes: see experiments/keras2.py. One of its files is in rnncheck/demo.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from experiments import keras2, port, train_sine
from rnncheck.cases.case import NOTEBOOK
from rnncheck.equations.formats import in_format
from rnncheck.equations.replay import replay
from rnncheck.frameworks.keras.build import build
from rnncheck.frameworks.keras.environment import environment
from rnncheck.frameworks.keras.extract import extract
from rnncheck.frameworks.keras.run import record
from rnncheck.frameworks.keras.session import quiet_stderr
from rnncheck.network import Array

FIXTURES = Path(__file__).parent.parent / "fixtures"


def notebook_weights() -> list[Array]:
    """Return the weights that the notebook prints, in Keras' order."""
    facts = json.loads((FIXTURES / "notebook.json").read_text())
    rnn, dense = facts["simple_rnn"], facts["dense"]
    printed = (rnn["kernel"], rnn["recurrent_kernel"], rnn["bias"], dense["kernel"], dense["bias"])
    return [np.array(weight, np.float32) for weight in printed]


def record_notebook() -> None:
    """Record the notebook's model in Keras."""
    with quiet_stderr():
        built = build(NOTEBOOK)
    built.model.set_weights(notebook_weights())
    network = extract(built.model)
    (recording,) = record(built.model, network, built.calls)
    np.savez(
        FIXTURES / "notebook_run.npz",
        inputs=recording.inputs[0],
        states=recording.states[NOTEBOOK.layer],
        outputs=recording.outputs[0],
        versions=np.array(json.dumps({name: environment()[name] for name in ("keras", "tensorflow", "numpy")})),
    )


def save_notebook() -> None:
    """Save the notebook's model, and inputs for which it gives the numbers that the notebook printed."""
    with quiet_stderr():
        model = build(NOTEBOOK).model
    model.set_weights(notebook_weights())
    model.save(port.DEMO / "notebook.keras")
    facts = json.loads((FIXTURES / "notebook.json").read_text())
    network, rng = in_format(extract(model), "float64"), np.random.default_rng(0)

    def far(inputs: Array) -> Array:
        found: Array = np.abs(replay(network, [inputs]).outputs[0] - facts["manual_loop"]).max(axis=1)
        return found

    drawn = rng.normal(size=(100_000, NOTEBOOK.T, NOTEBOOK.D)).astype(np.float32)
    for nearest in far(drawn).argsort():
        inputs = drawn[[nearest]]
        for _ in range(2000):  # steps at random, the smaller the nearer; those that lead nearer are kept
            moved = (inputs + far(inputs) * rng.normal(size=inputs.shape)).astype(np.float32)
            inputs = moved if far(moved) < far(inputs) else inputs
            if far(inputs) <= _AS_PRINTED:
                break
        (predicted,) = model.predict(inputs, verbose=0)
        if far(inputs) <= _AS_PRINTED and np.array_equal(predicted, np.float32(facts["keras_predict"])):
            np.save(port.DEMO / "notebook_inputs.npy", inputs)
            return


def export_sine() -> None:
    """Export the trained model to ONNX with Keras' own exporter."""
    import keras

    model = keras.models.load_model(port.DEMO / "sine.keras")
    model(np.zeros((1, *model.input_shape[1:]), np.float32))  # the exporter asks that it was called
    with quiet_stderr():
        model.export(port.DEMO / "sine.onnx", format="onnx", verbose=False)


# How far a number may be from what NumPy prints of it with eight decimals.
_AS_PRINTED = 5e-9


def main() -> None:
    """Record everything."""
    record_notebook()
    save_notebook()
    train_sine.main()
    export_sine()
    port.main()
    keras2.main()
    shutil.copy(FIXTURES / "keras2" / "2.15.1" / "lstm_hard_sigmoid.keras", port.DEMO / "keras2.keras")


if __name__ == "__main__":
    main()
