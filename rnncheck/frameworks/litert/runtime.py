"""LiteRT, as it runs in a process of its own; see `rnncheck.frameworks.apart`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

_FORMATS = ("float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64")


def describe(path: str) -> dict[str, Any]:
    """Return the name, shape and dtype of each input and output; open lengths are None."""
    inputs, outputs = _tensors(Interpreter(path))
    return {"inputs": [_described(each) for each in inputs], "outputs": [_described(each) for each in outputs]}


def use(path: str, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the outputs by name of each call of an interpreter; where a call has no inputs, states are set back."""
    interpreter = Interpreter(path)
    inputs, outputs = _tensors(interpreter)
    sizes, results = None, []
    for given in calls:
        if not given:
            interpreter.reset_all_variables()
            continue
        arrays = [(detail, given[name]) for name, detail in inputs]
        if sizes != (sizes := [array.shape for _, array in arrays]):  # which would forget a state
            for detail, array in arrays:
                interpreter.resize_tensor_input(detail["index"], array.shape, strict=True)
            interpreter.allocate_tensors()
        for detail, array in arrays:
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        results.append({name: interpreter.get_tensor(detail["index"]).copy() for name, detail in outputs})
    return results


def contents(path: str) -> tuple[list[tuple[str, Any, str, Any, Any, int | None]], list[str], str]:
    """Return the arrays that a file holds, the operators of its nodes, and no format, since it computes in float32.

    Of an array: its name, numbers and format; scale, zero point and axis of integers that stand for others.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(Path(path).read_bytes(), 0)
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    codes = [
        # Older files have the code in the other field alone.
        (each.customCode or b"").decode() or names[max(each.builtinCode, each.deprecatedBuiltinCode)]
        for each in model.operatorCodes
    ]
    formats = {code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
    arrays = []
    for tensor in (each for graph in model.subgraphs for each in graph.tensors):
        data, form = model.buffers[tensor.buffer].data, formats[tensor.type]
        if data is None or not len(data) or form not in _FORMATS:  # it is computed, or no numbers
            continue
        how = tensor.quantization or schema.QuantizationParametersT()
        scale, zero_point = (np.array([] if each is None else each) for each in (how.scale, how.zeroPoint))
        numbers = data.view(form).reshape([] if tensor.shape is None else tensor.shape)
        arrays.append((tensor.name.decode(), numbers, form, scale, zero_point, how.quantizedDimension))
    return arrays, [codes[each.opcodeIndex] for graph in model.subgraphs for each in graph.operators], ""


# The inputs and outputs with their names: those of the signature, where the file has one.
def _tensors(interpreter: Any) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        runner = interpreter.get_signature_runner()
        return list(runner.get_input_details().items()), list(runner.get_output_details().items())
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    return [(each["name"], each) for each in inputs], [(each["name"], each) for each in outputs]


def _described(tensor: tuple[str, Any]) -> tuple[str, list[int | None], str]:
    name, detail = tensor
    shape = [None if size == -1 else int(size) for size in detail["shape_signature"]]
    return name, shape, detail["dtype"].__name__
