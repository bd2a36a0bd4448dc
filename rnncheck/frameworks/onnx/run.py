"""Run an ONNX file in ONNX Runtime: its outputs, and what its nodes put out on the way."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rnncheck.checks.relations import Calls
from rnncheck.errors import InputError, RnncheckError, described
from rnncheck.frameworks.apart import run_apart
from rnncheck.frameworks.onnx.extract import read
from rnncheck.frameworks.onnx.file import RECURRENT, OnnxFile, open_onnx, require_onnx
from rnncheck.frameworks.onnx.graph import Reading
from rnncheck.frameworks.onnx.recurrent import all_steps
from rnncheck.network import Array, Recording, Tensor

RUNTIME = Path(__file__).with_name("runtime.py")


@dataclass(frozen=True)
class OnnxRunner:
    """Runs an ONNX file, in a process of its own."""

    framework: ClassVar[str] = "ONNX Runtime"
    what: ClassVar[str] = "an ONNX file"

    file: OnnxFile
    reading: Reading

    @staticmethod
    def of(path: Path) -> OnnxRunner:
        """Open a file and read its graph; see `open_onnx` and `read` for what is raised."""
        try:
            file = open_onnx(path)
            return OnnxRunner(file, read(file))
        except RnncheckError:
            raise
        # What a damaged file may lead to, such as names that are no text.
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError) as error:
            raise InputError(
                f"{path}: it is damaged ({described(error)}); expected an ONNX file. Export the model again."
            ) from error

    @property
    def samples_first(self) -> bool:
        """Whether all inputs and outputs have the axes here that they have in the file, with the samples first."""
        return all(each.plain for each in (*self.reading.inputs, *self.reading.outputs))

    def outputs(self, calls: Calls) -> list[list[Array]]:
        """Return the outputs of each call, with the samples first."""
        (given,) = self._run(calls, [self._as_it_is])
        return [self._outputs(inputs, found) for inputs, found in zip(calls, given, strict=True)]

    def record(self, calls: Calls) -> tuple[Recording, ...]:
        """Run the file on the inputs of each call, plain first and then so that its nodes show what they put out."""
        inside = [*self.reading.shown, *self.reading.sequences]
        plain, shown = self._run(calls, [self._as_it_is, (self._showing(inside), inside)])
        return tuple(
            self._recording(inputs, outputs, dict(zip(inside, found, strict=True)))
            for inputs, outputs, found in zip(calls, plain, shown, strict=True)
        )

    @property
    def _as_it_is(self) -> tuple[str, list[str]]:
        return str(self.file.path.resolve()), [each.name for each in self.file.model.graph.output]

    def _run(self, calls: Calls, models: Sequence[tuple[str | bytes, Sequence[str]]]) -> Any:
        require_onnx("onnxruntime")
        return run_apart(self.framework, RUNTIME, "run", models, self._fed(calls))

    def _fed(self, calls: Calls) -> list[dict[str, Array]]:
        pairs = list(zip(self.reading.network.inputs, self.reading.inputs, strict=True))
        return [
            {spec.name: value.turned(x.astype(spec.dtype)) for (spec, value), x in zip(pairs, inputs, strict=True)}
            for inputs in calls
        ]

    # The file with more outputs: what stands inside.
    def _showing(self, names: Sequence[str]) -> bytes:
        import onnx

        model = copy.deepcopy(self.file.model)
        for node in model.graph.node:
            if node.op_type in RECURRENT:
                node.output[0] = all_steps(node.output)
        own = {each.name for each in model.graph.output}
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in own)
        data: bytes = model.SerializeToString()
        return data

    def _lengths(self, inputs: Sequence[Array]) -> dict[str, int]:
        lengths = {"N": len(inputs[0])}
        for value, array in zip(self.reading.inputs, inputs, strict=True):
            for size, length in zip(value.shape, array.shape, strict=True):
                lengths |= dict.fromkeys(size.open, length)
        return lengths

    def _outputs(self, inputs: Sequence[Array], found: Sequence[Array]) -> list[Array]:
        lengths = self._lengths(inputs)
        return [value.turned_back(x, lengths) for value, x in zip(self.reading.outputs, found, strict=True)]

    def _recording(self, inputs: Sequence[Array], outputs: Sequence[Array], found: dict[str, Array]) -> Recording:
        lengths = self._lengths(inputs)
        tensors: dict[Tensor, Array] = {}
        states: dict[str, Array] = {}
        for name, value in self.reading.shown.items():
            tensors[value.tensor] = value.turned_back(found[name], lengths)
        for name, (value, directions) in self.reading.sequences.items():
            h = value.turned_back(found[name], lengths)
            for d, layer in enumerate(directions):
                own = h[:, :, d] if len(directions) > 1 else h
                backwards = self.reading.network.layer(layer).options["go_backwards"]
                states[layer] = np.ascontiguousarray(own[:, ::-1] if backwards else own)
        return Recording(tuple(inputs), tuple(self._outputs(inputs, outputs)), states, tensors)
