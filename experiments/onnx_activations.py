"""How accurate are the gates of a GRU in ONNX Runtime? Sets `SATURATED` of `rnncheck.rounding.accuracy`.

    python -m experiments.onnx_activations

A node of one unit and one step gives tanh(x) or sigmoid(x) of every seventh float32 number with 2^-40 <= |x| <= 104.
Errors are in units of u, and of what the accuracy of tanh and sigmoid elsewhere is in proportion to. The result is
written to experiments/results/onnx_activations.json.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from experiments import records
from rnncheck.equations import activations
from rnncheck.network import Array

STRIDE, CHUNK = 7, 2**22
SMALLEST, LARGEST = 2.0**-40, 104.0


def gate(kind: str) -> Any:
    """Return a session that computes a function of x (1, N, 1): a GRU whose update gate is 0."""
    weights = {"W": np.ones((1, 3, 1), np.float32), "R": np.zeros((1, 3, 1), np.float32)}
    node = helper.make_node(
        "GRU", ["X", *weights], ["", "Y_h"], hidden_size=1, activations=["Affine", kind],
        activation_alpha=[0.0], activation_beta=[0.0],
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "gate",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [1, None, 1])],
        [helper.make_tensor_value_info("Y_h", TensorProto.FLOAT, [1, None, 1])],
        [numpy_helper.from_array(weight, name) for name, weight in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    return onnxruntime.InferenceSession(model.SerializeToString())


def numbers() -> Iterator[Array]:
    """Yield the arguments, of one sign after the other."""
    first, last = (int(np.float32(x).view(np.uint32)) for x in (SMALLEST, LARGEST))
    for sign in (0, 0x80000000):
        for start in range(first, last + 1, CHUNK * STRIDE):
            bits = np.arange(start, min(start + CHUNK * STRIDE, last + 1), STRIDE, dtype=np.uint64) + sign
            yield bits.astype(np.uint32).view(np.float32)


def measure(kind: str) -> dict[str, dict[str, float]]:
    """Return the worst and the typical error where the function is held near its limits, and elsewhere."""
    usual = {"Tanh": activations.tanh, "Sigmoid": activations.sigmoid}[kind]
    session, u = gate(kind), 2.0**-24
    errors: dict[bool, list[Array]] = {True: [], False: []}
    for x in numbers():
        expected = usual.evaluate(x.astype(np.float64))
        (found,) = session.run(None, {"X": x.reshape(1, -1, 1)})
        error = np.abs(found.reshape(-1) - expected) / (u * usual.size(expected.copy()))
        held = activations.is_held(usual.name, expected)
        binade = np.frexp(x)[1]
        for which in (True, False):
            kept = held if which else ~held
            for each in np.unique(binade[kept]):
                own = error[kept & (binade == each)]
                errors[which].append(np.array([own.max(), np.sqrt(np.mean(np.square(own)))]))
    return {
        "held" if which else "elsewhere": dict(
            zip(("worst", "typical"), np.max(found, axis=0).round(3).tolist(), strict=True)
        )
        for which, found in errors.items()
    }


def main() -> None:
    """Measure, print and write the result."""
    result = {
        "versions": {"onnxruntime": onnxruntime.__version__, "numpy": np.__version__},
        **{kind.lower(): measure(kind) for kind in ("Tanh", "Sigmoid")},
    }
    print(result)
    records.write("onnx_activations", result)


if __name__ == "__main__":
    main()
