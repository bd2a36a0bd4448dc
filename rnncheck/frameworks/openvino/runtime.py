"""OpenVINO, as it runs in a process of its own; see `rnncheck.frameworks.apart`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import openvino

_CORE = openvino.Core()


def describe(path: str) -> dict[str, Any]:
    """Return the name, shape and dtype of each input and output; open lengths are None."""
    model = _CORE.read_model(path)
    return {
        "inputs": [_described(each) for each in model.inputs],
        "outputs": [_described(each) for each in model.outputs],
    }


def use(path: str, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the outputs by name of each call; where a call has no inputs, states are set back."""
    # It would compute in bfloat16 where a processor has that.
    model = _CORE.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request, results = model.create_infer_request(), []
    for given in calls:
        if not given:
            request.reset_state()
            continue
        found = request.infer(dict(given))
        results.append({output.any_name: np.array(found[output]) for output in model.outputs})
    return results


def contents(path: str) -> tuple[list[tuple[str, Any, str, Any, Any, int | None]], list[str], str]:
    """Return the arrays that a file holds, the operators of its nodes, and no format, since it computes in float32.

    Of an array: its name, numbers and format, and no scale, zero point and axis.
    """
    arrays: list[Any] = []
    operators: list[str] = []
    graphs = [_CORE.read_model(path)]
    while graphs:
        for node in graphs.pop().get_ordered_ops():
            operators.append(node.get_type_name())
            if node.get_type_name() in {"TensorIterator", "Loop"}:
                graphs.append(node.get_function())
            if node.get_type_name() == "Constant":
                numbers = np.array(node.data)
                nothing = np.zeros(0)
                arrays.append((node.get_friendly_name(), numbers, numbers.dtype.name, nothing, nothing, None))
    return arrays, [name for name in operators if name not in {"Constant", "Parameter", "Result"}], ""


def _described(tensor: Any) -> tuple[str, list[int | None], str]:
    shape = [None if size.is_dynamic else size.get_length() for size in tensor.partial_shape]
    return tensor.any_name, shape, tensor.element_type.to_dtype().name
