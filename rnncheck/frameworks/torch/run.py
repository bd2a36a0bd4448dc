"""Run a PyTorch module in this process: its outputs, and what its layers put out on the way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rnncheck.checks.relations import Calls
from rnncheck.errors import UnsupportedError
from rnncheck.frameworks.torch.extract import Reading, States, Value, read, to_numpy
from rnncheck.network import Array, Recording, Tensor


@dataclass(frozen=True)
class TorchRunner:
    """Runs a module, in evaluation mode and without gradients."""

    framework: ClassVar[str] = "PyTorch"
    what: ClassVar[str] = "a PyTorch module"

    module: Any
    reading: Reading

    @staticmethod
    def of(module: Any) -> TorchRunner:
        """Read a module; see `read` for what is raised."""
        return TorchRunner(module, read(module))

    @property
    def samples_first(self) -> bool:
        """Whether all inputs and outputs have the samples in their first axis, but for last states."""
        values = (*self.reading.inputs, *self.reading.outputs)
        return not any(isinstance(each, Value) and each.samples for each in values)

    def outputs(self, calls: Calls) -> list[list[Array]]:
        """Return the outputs of each call, with the samples first."""
        import torch

        with _evaluating(self.module):
            returned = [torch.utils._pytree.tree_leaves(self.module(*self._fed(inputs))) for inputs in calls]
        return [self._arrays(each) for each in returned]

    def record(self, calls: Calls) -> tuple[Recording, ...]:
        """Run the module on the inputs of each call, plain first and then node by node of its graph."""
        outputs = self.outputs(calls)
        return tuple(self._recording(inputs, given) for inputs, given in zip(calls, outputs, strict=True))

    def _recording(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> Recording:
        tensors: dict[Tensor, Array] = {}
        states: dict[str, Array] = {}
        graph, root = self.reading.graph, self.reading.root
        with _evaluating(root):
            seen = _every_node(root, graph, self._fed(inputs))
            for node in graph.nodes:
                value, given = self.reading.values[node.name], seen[node.name]
                if node.name in self.reading.layers:
                    (x,) = (each for each in node.args if each is not None)
                    name = self.reading.layers[node.name]
                    _note_layers(name, root.get_submodule(node.target), seen[x.name], given, tensors, states)
                elif node.name in self.reading.cells:
                    name = self.reading.cells[node.name]
                    after = [to_numpy(each) for each in (given if isinstance(given, tuple) else (given,))]
                    states[name] = after[0][:, np.newaxis]
                    tensors |= {Tensor(name, index): each for index, each in enumerate(after, start=1)}
                elif isinstance(value, Value) and node.op != "placeholder":
                    tensors[value.tensor] = _samples_first(given, value)
        return Recording(tuple(inputs), tuple(outputs), states, tensors)

    def _fed(self, inputs: Sequence[Array]) -> list[Any]:
        import torch

        parameter = next(self.module.parameters(), None)
        fed = []
        for array, spec, value in zip(inputs, self.reading.network.inputs, self.reading.inputs, strict=True):
            tensor = torch.from_numpy(np.array(array)).to(getattr(torch, spec.dtype))
            tensor = tensor if parameter is None else tensor.to(parameter.device)
            fed.append(tensor.transpose(0, 1) if value.samples else tensor)
        return fed

    def _arrays(self, returned: Sequence[Any]) -> list[Array]:
        arrays: list[Array] = []
        if len(returned) != len(self.reading.outputs):
            traced = len(self.reading.outputs)
            raise UnsupportedError(
                f"{self.reading.network.name}: got {len(returned)} tensors from forward, and {traced} when torch.fx "
                "traces it; expected a forward that does not ask what its tensors are."
            )
        for value, given in zip(self.reading.outputs, returned, strict=True):
            if isinstance(value, States):
                arrays += map(to_numpy, given)
            else:
                arrays.append(_samples_first(given, value))
        return arrays


# What each node of a graph gives.
def _every_node(root: Any, graph: Any, inputs: Sequence[Any]) -> dict[str, Any]:
    import torch

    seen: dict[str, Any] = {}

    class Watched(torch.fx.Interpreter):
        def run_node(self, node: Any) -> Any:
            seen[node.name] = super().run_node(node)
            return seen[node.name]

    Watched(torch.fx.GraphModule(root, graph)).run(*inputs)
    return seen


# Notes the states of a recurrent module. It shows those of its last layer; the layers below run one by one, as
# modules of one layer with the same weights. Where that does not end in the same numbers, they are not shown.
def _note_layers(
    name: str, module: Any, x: Any, given: Any, tensors: dict[Tensor, Array], states: dict[str, Array]
) -> None:
    import torch

    y, last = given[0], given[1] if isinstance(given[1], tuple) else (given[1],)
    count, directions = module.num_layers, 2 if module.bidirectional else 1
    shown = [y]
    if count > 1:
        shown = []
        for k in range(count):
            shown.append(_layer(module, k)(shown[-1] if shown else x)[0])
        if not torch.equal(shown[-1], y):
            shown = [None] * (count - 1) + [y]
    for k, sequence in enumerate(shown):
        base = f"{name}/{k}" if count > 1 else name
        names = [f"{base}/forward", f"{base}/backward"] if directions == 2 else [base]
        for d, own in enumerate(names):
            for index, state in enumerate(last, start=1):
                tensors[Tensor(own, index)] = to_numpy(state[k * directions + d])
        if sequence is None:
            continue
        h = to_numpy(sequence if module.batch_first else sequence.transpose(0, 1))
        tensors[Tensor(base)] = h
        for own, half in zip(names, np.split(h, directions, axis=-1), strict=True):
            states[own] = half[:, ::-1] if own.endswith("/backward") else half


# Options that not all recurrent modules take.
_OF_SOME = ("nonlinearity", "proj_size")


# One layer of a recurrent module as a module of its own.
def _layer(module: Any, k: int) -> Any:

    own = {
        f"{part}_l0{direction}": getattr(module, f"{part}_l{k}{direction}")
        for part in ("weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh")
        for direction in ("", "_reverse")[: 1 + module.bidirectional]
        if hasattr(module, f"{part}_l{k}{direction}")
    }
    options = {name: getattr(module, name) for name in _OF_SOME if getattr(module, name, 0)}
    size = own["weight_ih_l0"].shape[1]
    layer = type(module)(
        size, module.hidden_size, bias=module.bias, batch_first=module.batch_first,
        bidirectional=module.bidirectional, **options,
    )  # fmt: skip
    layer.to(own["weight_ih_l0"]).load_state_dict(own)
    return layer.eval()


def _samples_first(tensor: Any, value: Value) -> Array:
    return to_numpy(tensor.transpose(0, 1) if value.samples else tensor)


# Sets a module and those inside to evaluate, and puts each back afterwards.
@contextlib.contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    import torch

    training = [each for each in module.modules() if each.training]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for each in training:
            each.training = True
