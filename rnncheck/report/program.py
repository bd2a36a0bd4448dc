"""A Network as a program that needs NumPy alone, for people to read.

Steps and the usual layers are quoted from `rnncheck.report.textbook`. Those that are not there are our own equations,
from `rnncheck.equations`, in plain NumPy: without what they do for `Rounded` numbers.
"""

from __future__ import annotations

import ast
import builtins
import copy
import inspect
import keyword
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rnncheck.equations.activations import KNOWN
from rnncheck.equations.arithmetic import computing, receiving
from rnncheck.equations.cells import CELLS, sizes, units
from rnncheck.equations.layers import LAYERS
from rnncheck.equations.moves import identity
from rnncheck.equations.operands import keywords
from rnncheck.errors import UnsupportedError, escaped
from rnncheck.network import Activation, Array, InputSpec, Layer, Network, Tensor
from rnncheck.report import textbook
from rnncheck.report.network_table import input_shape, output_shapes
from rnncheck.rounding.precision import PRECISIONS

# What stands in the place of functions that serve several arithmetics, and of what NumPy has.
_PLAIN = {
    "tanh": "np.tanh", "exp": "np.exp", "expm1": "np.expm1", "log": "np.log", "sqrt": "np.sqrt",
    "rsqrt": "lambda x: 1.0 / np.sqrt(x)",
    "erf": "np.vectorize(math.erf, otypes=[float])",
    "activate": "lambda activation, x: activation(x)",
    "piecewise": "lambda x, at, below, above: np.where(x > at, above, below)",
    "choose": "lambda condition, chosen, other: np.where(condition, chosen, other)",
    "move": "lambda x, change: change(x)",
    "plain": "lambda x: x",
    "sum_over": "lambda x, axes: np.sum(x, axes, keepdims=True)",
    "max_over": "lambda x, axis: np.max(x, axis, keepdims=True)",
    "without_axis": "lambda x, axis: x.squeeze(axis)",
}  # fmt: skip

# The step of each kind of cell.
STEPS = {
    "SimpleRNN": textbook.simple_rnn, "LSTM": textbook.lstm, "GRU": textbook.gru,
    **dict.fromkeys(("PeepholeLSTM", "ProjectedLSTM"), textbook.lstm_in_full),
    **dict.fromkeys(("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"), textbook.conv_lstm),
}  # fmt: skip

# Those with what Keras does not have.
_IN_FULL = {"SimpleRNN": textbook.rnn_in_full, "LSTM": textbook.lstm_in_full, "GRU": textbook.gru_in_full}

_WIDTH = 110


def weights_by_name(network: Network) -> dict[str, Array]:
    """Return the weights of every layer, by `layer/name`."""
    return {f"{layer.name}/{name}": array for layer in network.layers for name, array in layer.weights.items()}


def numpy_program(network: Network, stem: str) -> str:
    """Return the source of a program that computes the network's outputs; its weights are in `stem`.npz beside it.

    Raises:
        UnsupportedError: a layer has no equations of its kind.
    """
    return _Program(network).source(stem)


class _Program:
    def __init__(self, network: Network) -> None:
        self._network = network
        self._names: dict[Any, str] = {}  # what is quoted -> its name in the program
        self._quoted: list[str] = []  # in an order in which each comes after what it needs
        self._modules: set[str] = set()
        self._variables: dict[Tensor, str] = {}
        self._taken = {"weights", "model", "states", "zeros", "np", *dir(builtins), *dir(textbook)}

    def source(self, stem: str) -> str:
        body = [*self._body()]
        imports = "".join(f"import {name}\n" for name in sorted(self._modules | {"sys"}))
        functions = "".join(f"\n\n{each}\n" for each in [*self._quoted, _indented(self._signature(), body)])
        specs = self._network.inputs
        arguments = ["given"] if len(specs) == 1 else [f"given[{spec.name!a}]" for spec in specs]
        alone, one = len(specs) == 1, len(self._network.outputs) == 1
        suffixes = {"given": "npy" if alone else "npz", "made": "npy" if one else "npz"}
        save = "save(sys.argv[2], outputs)" if one else "savez(sys.argv[2], *outputs)"
        head = _HEAD.format(stem=stem, imports=imports, **suffixes)
        return f"{head}{functions}{_MAIN.format(call=', '.join(arguments), save=save)}"

    def _signature(self) -> str:
        inputs = [self._variables[Tensor(spec.name)] for spec in self._network.inputs]
        return f"def model({', '.join([*inputs, *(['states=None'] if self._network.stateful else [])])}):"

    def _body(self) -> Iterator[str]:
        # Quote what is needed first: variables must not have the names of functions.
        calls = {layer.name: self._function(layer) for layer in self._network.layers}
        shapes = output_shapes(self._network)
        self._variables = {Tensor(spec.name): self._named(spec.name.strip("_")) for spec in self._network.inputs}
        given = (f"{self._variables[Tensor(spec.name)]} {input_shape(spec)}" for spec in self._network.inputs)
        made = (shapes[tensor.layer] if tensor.index == 0 else "a state" for tensor in self._network.outputs)
        yield f'"""{", ".join(given)} -> {", ".join(made)}."""'
        if self._network.stateful:
            yield "states = {} if states is None else states  # what an earlier call left"
        for spec in self._network.inputs:
            name = self._variables[Tensor(spec.name)]
            yield f"{name} = {self._received(spec, name)}"
        for layer in self._network.layers:
            function = calls[layer.name]
            if function is identity:
                self._variables[Tensor(layer.name)] = self._read(layer, layer.inputs[0])
                continue
            yield f"# {escaped(repr(layer.name))}, {layer.kind}: {shapes[layer.name]}"
            yield from self._recurrent(layer, function) if layer.kind in CELLS else self._call(layer, function)
        yield f"return {', '.join(self._variables[tensor] for tensor in self._network.outputs)}"

    def _received(self, spec: InputSpec, name: str) -> str:
        # As the model's input layer casts it.
        return f"{self._cast(spec.dtype)}({name})" if spec.dtype in PRECISIONS else f"{name}.astype({spec.dtype!r})"

    def _cast(self, precision: str) -> str:
        return "np.float64" if precision == "float64" else self._name_of(getattr(textbook, precision))

    def _function(self, layer: Layer) -> Any:
        if layer.equations is not None or layer.kind not in {*LAYERS, *STEPS}:
            raise UnsupportedError(
                f"layer {layer.name!r}: got the kind {layer.kind} with equations that no program can be written of; "
                "expected a layer that rnncheck replays as it is."
            )
        if layer.kind in CELLS:
            function = self._step(layer)
            self._name_of(textbook.over_time if layer.mask is None else textbook.over_masked_time)
            if function is textbook.conv_lstm:
                self._name_of(textbook.zeros_of_image)
        else:
            function = inspect.unwrap(LAYERS[layer.kind].apply)
            function = getattr(textbook, function.__name__, function)
        if function is not identity:
            self._name_of(function)
        return function

    def _step(self, layer: Layer) -> Any:
        bias = layer.weights.get("bias")
        two = bias is not None and bias.ndim == 2 and (layer.kind != "GRU" or not layer.options["reset_after"])
        if two or {"clip", "input_forget", "output_activation"} & set(layer.options):
            return _IN_FULL.get(layer.kind, STEPS[layer.kind])
        return textbook.gru_reset_before if layer.options.get("reset_after") is False else STEPS[layer.kind]

    def _call(self, layer: Layer, function: Any) -> Iterator[str]:
        inputs = [self._read(layer, tensor) for tensor in layer.inputs]
        options = self._options(layer, function)
        result = self._variable(Tensor(layer.name), "out")
        # Equations have channels last; but for the last axis, an activation does not care.
        first = layer.options.get("data_format") == "channels_first"
        activation = options.get("activation")
        if first:
            inputs[0] = f"np.moveaxis({inputs[0]}, 1, -1)"
            options |= {} if activation is None else {"activation": self._activation(Activation("linear"))}
        yield _joined(f"{result} = {self._names[function]}", [*inputs, *self._keywords(layer, options)])
        if first:
            moved = f"np.moveaxis({result}, -1, 1)"
            yield f"{result} = {moved if activation is None else f'({activation})({moved})'}"

    def _recurrent(self, layer: Layer, function: Any) -> Iterator[str]:
        x = self._read(layer, layer.inputs[0])
        names = CELLS[layer.kind].states
        if layer.initial_state:
            start = ", ".join(self._read(layer, tensor) for tensor in layer.initial_state)
        elif len(set(sizes(layer))) > 1:
            start = ", ".join(f"np.zeros((len({x}), {size}))" for size in sizes(layer))
        else:
            yield f"zeros = {self._zeros(layer, x)}"
            start = ", ".join("zeros" for _ in names)
        start = f"({start},)" if len(names) == 1 else f"({start})"
        if layer.options["stateful"] and not layer.initial_state:
            start = f"states.get({layer.name!a}, {start})"
        out = self._variable(Tensor(layer.name), "out")
        after = [self._variable(Tensor(layer.name, index), name) for index, name in enumerate(names, start=1)]
        backwards = "[:, ::-1]" if layer.options["go_backwards"] else ""
        arguments = [self._names[function], f"{x}{backwards}", start]
        if layer.mask is not None:
            zero = bool(layer.options["zero_output_for_mask"])
            arguments += [f"mask={self._variables[layer.mask]}{backwards}", f"zero_output={zero}"]
        loop = self._names[textbook.over_time if layer.mask is None else textbook.over_masked_time]
        options = self._keywords(layer, self._options(layer, function))
        yield _joined(f"{', '.join([out, *after])} = {loop}", [*arguments, *options])
        if layer.options["stateful"]:
            yield f"states[{layer.name!a}] = {', '.join(after)}{',' if len(after) == 1 else ''}"
        if not layer.options["return_sequences"]:
            yield f"{out} = {out}[:, -1]"

    def _zeros(self, layer: Layer, x: str) -> str:
        if STEPS[layer.kind] is not textbook.conv_lstm:
            return f"np.zeros((len({x}), {units(layer)}))"
        options = [layer.options[name] for name in ("kernel_size", "strides", "padding", "dilation_rate")]
        return f"zeros_of_image({x}, {units(layer)}, {', '.join(map(repr, options))})"

    def _read(self, layer: Layer, tensor: Tensor) -> str:
        # An input of the model, as the layer casts it to its precision.
        name, needs = self._variables[tensor], receiving(layer)
        given = {Tensor(spec.name): PRECISIONS.get(spec.dtype, needs) for spec in self._network.inputs}
        return f"{self._cast(needs.name)}({name})" if needs.digits < given.get(tensor, needs).digits else name

    def _options(self, layer: Layer, function: Any) -> dict[str, str]:
        names = keywords(function)
        return {name: self._value(value) for name, value in layer.options.items() if name in names}

    def _keywords(self, layer: Layer, options: dict[str, str]) -> list[str]:
        given = []
        if layer.weights:
            half = computing(layer).name not in {"float64", layer.weights[next(iter(layer.weights))].dtype.name}
            cast = f", {self._cast(computing(layer).name)}" if half else ""
            given = [f"**weights({layer.name!a}{cast})"]
        return [*given, *(f"{name}={value}" for name, value in options.items())]

    def _value(self, value: Any) -> str:
        if isinstance(value, Activation):
            return self._activation(value)
        return f'float("{value}")' if isinstance(value, float) and abs(value) == float("inf") else repr(value)

    def _activation(self, activation: Activation) -> str:
        name = activation.name
        if name in _PLAIN:
            return _PLAIN[name]
        known = KNOWN[name]
        quoted = self._name_of(getattr(textbook, name) if not inspect.isfunction(known) else known)
        if not activation.parameters:
            return quoted
        return f"lambda x: {quoted}(x, {', '.join(f'{k}={v!r}' for k, v in activation.parameters.items())})"

    def _variable(self, tensor: Tensor, suffix: str) -> str:
        self._variables[tensor] = self._named(f"{tensor.layer}_{suffix}".lstrip("_"))
        return self._variables[tensor]

    def _named(self, wanted: str) -> str:
        # A name that Python takes, and that nothing else has.
        plain = re.sub(r"\W+", "_", wanted, flags=re.ASCII).lower()
        plain = f"x_{plain}" if not plain or plain[0].isdigit() or keyword.iskeyword(plain) else plain
        name, count = plain, 1
        while name in self._taken:
            count += 1
            name = f"{plain}_{count}"
        self._taken.add(name)
        return name

    def _name_of(self, thing: Any) -> str:
        """Return the name of a function in the program, which quotes it from then on, with what it needs."""
        if thing not in self._names:
            own = thing.__module__ == textbook.__name__
            self._names[thing] = thing.__name__ if own else self._named(thing.__name__)
            self._quoted.append(self._quotation(thing))
        return self._names[thing]

    def _quotation(self, function: Any) -> str:
        text = textwrap.dedent(inspect.getsource(function))
        (tree,) = ast.parse(text).body
        assert isinstance(tree, ast.FunctionDef)
        own = function.__module__ == textbook.__name__
        if not own:
            tree = _InPlainNumPy().visit(tree)
            tree.name, tree.decorator_list = self._names[function], []
        local = {each.arg for each in ast.walk(tree) if isinstance(each, ast.arg)}
        local |= {
            each.id for each in ast.walk(tree) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
        }
        for each in ast.walk(tree):
            if isinstance(each, ast.Name) and each.id not in {*local, *dir(builtins), "np"}:
                each.id = self._brought(each.id, function)
        return text.strip() if own else ast.unparse(ast.fix_missing_locations(tree))

    def _brought(self, name: str, function: Callable[..., Any]) -> str:
        # A name that a function takes from its module.
        thing = getattr(textbook, name, None) or function.__globals__.get(name) or sys.modules[name]
        if inspect.ismodule(thing):
            self._modules.add(thing.__name__)
            return name
        if inspect.isfunction(thing):
            return self._name_of(thing)
        if inspect.isbuiltin(thing) or inspect.isclass(thing):
            module = thing.__module__.lstrip("_")
            self._modules.add(module)
            return f"{module}.{name}"
        line = f"{name} = {thing!r}"
        if line not in self._quoted:
            self._quoted.append(line)
        return name


class _InPlainNumPy(ast.NodeTransformer):
    """Takes out of an equation what it does for other numbers than plain ones."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> Any:
        node.annotation = None
        return node

    def visit_Expr(self, node: ast.Expr) -> Any:
        limit = isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "limited"
        return None if limit else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> Any:
        self.generic_visit(node)
        return node.orelse or None if _asks_for_rounded(node.test) else node

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        self.generic_visit(node)
        return node.orelse if _asks_for_rounded(node.test) else node

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        function = node.func
        while isinstance(function, ast.Lambda):
            values = dict(zip((arg.arg for arg in function.args.args), node.args, strict=True))
            result = _Substitution(values).visit(function.body)
            if not (isinstance(result, ast.Call) and isinstance(result.func, ast.Lambda)):
                return result
            node, function = result, result.func
        return node

    def visit_Name(self, node: ast.Name) -> Any:
        plain = _PLAIN.get(node.id) if isinstance(node.ctx, ast.Load) else None
        return node if plain is None else ast.parse(plain, mode="eval").body


def _asks_for_rounded(test: ast.expr) -> bool:
    return ast.unparse(test).startswith("isinstance(") and "Rounded)" in ast.unparse(test)


class _Substitution(ast.NodeTransformer):
    def __init__(self, values: dict[str, ast.expr]) -> None:
        self._values = values

    def visit_Name(self, node: ast.Name) -> Any:
        return copy.deepcopy(self._values.get(node.id, node))


def _joined(head: str, arguments: Sequence[str]) -> str:
    # A call on one line where it fits.
    line = f"{head}({', '.join(arguments)})"
    if len(line) <= _WIDTH:
        return line
    lines = [""]
    for each in arguments:
        if len(lines[-1]) + len(each) + 6 > _WIDTH and lines[-1]:
            lines.append("")
        lines[-1] += f"{' ' if lines[-1] else ''}{each},"
    return f"{head}(\n" + "".join(f"    {each}\n" for each in lines) + ")"


def _indented(head: str, body: Sequence[str]) -> str:
    return f"{head}\n" + textwrap.indent("\n".join(body), "    ")


_HEAD = '''"""A model in NumPy alone, written by rnncheck.

    python {stem}.py INPUTS.{given} [OUTPUTS.{made}]

Its weights are in {stem}.npz beside it, as `rnncheck weights` writes them.
"""

{imports}from pathlib import Path

import numpy as np

with np.load(Path(__file__).with_name("{stem}.npz")) as file:
    WEIGHTS = dict(file)


def weights(layer, cast=np.float64):
    """Return the weights of a layer by their names."""
    names = (name.rpartition("/") for name in WEIGHTS)
    return {{own: cast(WEIGHTS[f"{{layer}}/{{own}}"]) for whose, _, own in names if whose == layer}}
'''

_MAIN = """

if __name__ == "__main__":
    given = np.load(sys.argv[1])
    outputs = model({call})
    print(outputs)
    if len(sys.argv) > 2:
        np.{save}
"""
