"""The onnx package's own cases of single nodes: what is read of each, and what the equations make of it."""

import pickle
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from rnncheck import RnncheckError
from rnncheck.equations.replay import replay
from rnncheck.frameworks.onnx.folding import fold
from rnncheck.frameworks.onnx.graph import OPERATORS
from rnncheck.frameworks.onnx.run import OnnxRunner

# In a process of its own, since all cases are made when the first is asked for.
COLLECT = """
import pickle, sys, warnings
warnings.filterwarnings("ignore")
from onnx.backend.test.case.node import collect_testcases
found = [(case.name, case.model.SerializeToString(), data) for case in collect_testcases(None)
         if len(case.model.graph.node) == 1 for data in case.data_sets]
sys.stdout.buffer.write(pickle.dumps(found))
"""


@cache
def cases():
    """Return every case of one node, (name, model, inputs, outputs), of which the inputs are arrays."""
    done = subprocess.run([sys.executable, "-c", COLLECT], capture_output=True, check=True)
    read = ((name, onnx.load_model_from_string(data), *own) for name, data, own in pickle.loads(done.stdout))  # noqa: S301
    return [case for case in read if all(isinstance(x, np.ndarray) and x.dtype.kind in "fiub" for x in case[2])]


def holding(model, inputs, place=0):
    """Return a model that holds its inputs, as those of a file are weights, but for the one at a place."""
    changed = onnx.ModelProto.FromString(model.SerializeToString())
    pairs = enumerate(zip(changed.graph.input, inputs, strict=True))
    changed.graph.initializer.extend(numpy_helper.from_array(x, each.name) for k, (each, x) in pairs if k != place)
    return changed


@cache
def readings():
    """Return what came of each case of an operator that is read, by the case and the input that is taken to change.

    That is what the equations give beside what they should, for each output, or the text of a refusal.
    """
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        for name, model, inputs, outputs in cases():
            if model.graph.node[0].op_type not in OPERATORS:
                continue
            for place in range(min(2, len(inputs))):
                onnx.save(holding(model, inputs, place), path)
                found[f"{name}, input {place}"] = _read(path, inputs[place], outputs)
    return found


def _read(path, x, outputs):
    try:
        reading = OnnxRunner.of(path).reading
        own = reading.inputs[0].turned_back(x, {})
        given = replay(reading.network, [own]).outputs
    except RnncheckError as error:
        return str(error).replace(f"{path}: ", "")
    return [(y, value.turned_back(each, {})) for y, value, each in zip(given, reading.outputs, outputs, strict=True)]


@cache
def foldings():
    """Return what is computed of each case while a graph is read, where something is, and what it should be."""
    found = {}
    for name, model, inputs, outputs in cases():
        node = model.graph.node[0]
        options = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        options = {k: numpy_helper.to_array(v) if hasattr(v, "data_type") else v for k, v in options.items()}
        # The lengths of a tensor are known, if not its numbers.
        known = [np.array(inputs[0].shape)] if node.op_type == "Shape" else inputs
        value = fold(node.op_type, options, known)
        if value is not None:
            sizes = [getattr(each, "number", each) for each in np.ravel(value)]
            found[name] = np.reshape(sizes, np.shape(value)), outputs[0]
    return found
