"""The walks of CONTRIBUTING.md work as they are written."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def example(heading):
    """Return the code of a section."""
    (section,) = re.findall(rf"^## {heading}$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^ +```python\n(.*?)^ +```", section, re.MULTILINE | re.DOTALL)
    return "\n".join(textwrap.dedent(block) for block in blocks)


def run(*parts):
    """Run code in a process of its own, whose tables may grow."""
    code = "\n".join(textwrap.dedent(part) for part in parts)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.long  # it loads Keras for a process of its own
def test_added_layer_matches_keras():
    before = """
        from rnncheck.equations.layers import X, layer
        from rnncheck.frameworks.keras.config.entries import ENTRIES, Entry
        from rnncheck.frameworks.keras.config.values import FORMS, is_number
    """
    after = """
        import keras
        import numpy as np
        import rnncheck
        layers = [keras.Input((6, 3)), keras.layers.Rescaling(0.3, 0.1), keras.layers.LSTM(4)]
        report = rnncheck.verify(keras.Sequential(layers), np.random.default_rng(0).normal(size=(2, 6, 3)))
        print(report.verdict, *dict.fromkeys(row.layer for row in report.entries[0].rows))
    """

    assert run(before, example("Add a layer"), after) == ["match", "rescaling", "lstm"]


NETWORK = """
    import numpy as np
    import rnncheck
    from rnncheck.network import Activation, InputSpec, Layer, Network, Tensor

    rng = np.random.default_rng(0)

    def make(kind, gates):
        options = dict.fromkeys(["go_backwards", "stateful", "return_state", "zero_output_for_mask"], False)
        options |= {"units": 4, "use_bias": True, "return_sequences": True}
        options |= {"activation": Activation("tanh"), "recurrent_activation": Activation("sigmoid")}
        shapes = {"kernel": (3, 4 * gates), "recurrent_kernel": (4, 4 * gates), "bias": (4 * gates,)}
        weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
        layer = Layer("rnn", kind, (Tensor("x"),), options, weights)
        return Network("example", (InputSpec("x", (6, 3), "float32"),), (layer,), (Tensor("rnn"),))

    inputs = rng.normal(size=(2, 6, 3)).astype(np.float32)
"""


def test_added_cell_computes_its_paper():
    before = "from typing import Any\nfrom rnncheck.equations.cells import *"
    after = """
        network = make("MGU", 2)
        W, U, b = (network.layers[0].weights[name].astype(float) for name in ("kernel", "recurrent_kernel", "bias"))
        h = np.zeros((2, 4))
        for t in range(6):
            f = 1 / (1 + np.exp(-(inputs[:, t] @ W[:, :4] + b[:4] + h @ U[:, :4])))
            h = (1 - f) * h + f * np.tanh(inputs[:, t] @ W[:, 4:] + b[4:] + (f * h) @ U[:, 4:])
        (outputs,) = rnncheck.replay(network, inputs).outputs
        np.testing.assert_allclose(outputs[:, -1], h, rtol=1e-12)
        actual = outputs.astype(np.float32)
        print(rnncheck.compare(network, inputs, actual, states=actual).verdict)
    """

    assert run(before, NETWORK, example("Add a cell"), after) == ["match"]


def test_added_fault_is_caught():
    before = """
        from rnncheck.equations.changes import LSTMS, with_gates
        from rnncheck.faults.catalogue import injections
        from rnncheck.faults.catalogue.causes import ONE_STEP
        from rnncheck.faults.catalogue.fault import ENTERED, fault, of_layer
    """
    after = """
        network = make("LSTM", 4)
        (injection,) = injections(network, ENTERED[-1:])
        (outputs,) = rnncheck.replay(injection.network, inputs).outputs
        print(injection.fault.name, rnncheck.compare(network, inputs, outputs.astype(np.float32)).verdict)
    """

    assert run(before, NETWORK, example("Add a fault"), after) == ["memory_halved", "mismatch"]


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:rnncheck|tests|experiments)/[\w/.]+)`", TEXT))))
def test_named_files_are_there(path):
    assert (ROOT / path).exists()
