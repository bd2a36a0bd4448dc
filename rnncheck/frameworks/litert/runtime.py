"""LiteRT, as it runs in a process of its own; see `rnncheck.frameworks.apart`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ai_edge_litert.interpreter import Interpreter


def describe(path: str) -> dict[str, Any]:
    """Return the name, shape and dtype of each input and output; open lengths are None."""
    inputs, outputs = _tensors(Interpreter(path))
    return {"inputs": [_described(each) for each in inputs], "outputs": [_described(each) for each in outputs]}


def use(path: str, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the outputs by name of each call of an interpreter."""
    interpreter = Interpreter(path)
    inputs, outputs = _tensors(interpreter)
    sizes, results = None, []
    for given in calls:
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
