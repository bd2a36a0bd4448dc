"""How a Network looks: its layers, shapes, parameters and options, and the equations that will be checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import takewhile
from typing import Any

import numpy as np
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from rnncheck.equations.cells import CELLS
from rnncheck.equations.layers import HELPERS, LAYERS
from rnncheck.equations.shapes import shapes
from rnncheck.frameworks.arrivals import Arrival
from rnncheck.frameworks.exports import Contents
from rnncheck.network import UNCHECKED, InputSpec, Layer, Network
from rnncheck.report.tables import new_table, shown

# Two values of N and of T: how an axis grows with them tells what it is. T has many divisors, because of strides.
_SMALL, _LARGE = (2, 60), (3, 120)

Defaults = Callable[[str], Mapping[str, Any]]  # kind of a layer -> its options' defaults, which are left out


COLUMNS = ("layer", "kind", "output", "parameters", "reads", "options other than the default")


def print_network(network: Network, console: Console, title: str, defaults: Defaults) -> None:
    """Print a table of the layers, the number of parameters, and the equations of each kind of layer."""
    console.print(shown(title, "bold"))
    table = new_table("", COLUMNS, numbers=("parameters",), whole=("layer", "kind", "output"))
    for line in layer_lines(network, defaults):
        table.add_row(*map(shown, line))
    console.print(table)
    console.print(shown(total_line(network)))
    for kind, lines in equations_of(network).items():
        console.print(Text(f"\n{kind}", "bold"))
        for text in lines:
            console.print(Padding(Text(text), (0, 0, 0, 2), expand=False))


def print_export(name: str, contents: Contents, weights: Sequence[Arrival], console: Console) -> None:
    """Print which operators an export has, and what became of each weight of the model in it."""
    operators = ", ".join(f"{count} {operator}" for operator, count in contents.operators.most_common())
    console.print()
    console.print(shown(f"{name}: {operators or 'no operators'}"))
    if contents.hint:
        console.print(shown(contents.hint))
    columns = ("weight", "shape", f"in {name}", "format", "held in")
    table = new_table("", columns, whole=("weight", "shape", "format"))
    for each in weights:
        shape = "x".join(map(str, each.shape))
        held = ", ".join(each.held_in)
        table.add_row(*map(shown, (f"{each.layer}/{each.weight}", shape, each.how or "not there", each.form, held)))
    console.print(table)


def layer_lines(network: Network, defaults: Defaults) -> Iterator[tuple[str, ...]]:
    """Yield the cells of `COLUMNS` for each input and layer."""
    for spec in network.inputs:
        yield spec.name, "Input", input_shape(spec), "0", "", spec.dtype
    shapes = output_shapes(network)
    for layer in network.layers:
        options = ", ".join(changed_options(layer, defaults(layer.kind)))
        reads = ", ".join(map(str, layer.reads))
        yield layer.name, layer.kind, shapes[layer.name], f"{layer.parameters:,}", reads, options


def total_line(network: Network) -> str:
    """Return how many parameters a network has, and which outputs."""
    return f"{network.parameters:,} parameters; outputs: {', '.join(map(str, network.outputs))}"


def equations_of(network: Network) -> dict[str, list[str]]:
    """Return the equations of each kind of layer that has some."""
    kinds = dict.fromkeys(layer.kind for layer in network.layers if layer.kind not in {*HELPERS, UNCHECKED})
    return {kind: equations(kind) for kind in kinds}


def changed_options(layer: Layer, defaults: Mapping[str, Any]) -> Iterator[str]:
    """Yield the options of a layer that differ from their defaults, as `name=value`."""
    for name, value in layer.options.items():
        # Keras takes strides from pool_size if none are given.
        follows_pool = name == "strides" and "pool_size" in layer.options and _same(value, layer.options["pool_size"])
        if not follows_pool and (name not in defaults or not _same(value, defaults[name])):
            yield f"{name}={value}"
    if layer.dtype != "float32" and layer.kind not in HELPERS:
        yield f"dtype={layer.dtype}"


def _same(value: Any, default: Any) -> bool:
    # One number stands for the same along every axis. Activations compare by their names.
    parts, default_parts = (np.ravel(np.asarray(each, object)).tolist() for each in (value, default))
    if len(default_parts) == 1:
        default_parts = [default_parts[0]] * len(parts)
    return list(map(str, parts)) == list(map(str, default_parts))


def input_shape(spec: InputSpec) -> str:
    """Return the shape of an input in letters."""
    n = "N" if spec.samples is None else str(spec.samples)
    return _written([n, *("T" if size is None else str(size) for size in spec.shape)])


def output_shapes(network: Network) -> dict[str, str]:
    """Return the shape of every layer's output in letters, found by running the equations on two sizes.

    `?` stands for an output that not every size has, such as the sum of an open axis and one of length 10.
    """
    small, large = (shapes(network, n, steps) for n, steps in (_SMALL, _LARGE))
    found = {layer.name: "?" for layer in network.layers}
    for name in small.keys() & large.keys() & found.keys():
        (rows, *axes), (more_rows, *other_axes) = small[name], large[name]
        if len(axes) == len(other_axes):
            found[name] = _written([_rows(rows, more_rows), *map(_axis, axes, other_axes)])
    return found


def _written(axes: list[str]) -> str:
    return f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"


def _rows(small: int, large: int) -> str:
    # Name the first axis: a number, N, or N·T, or several times that.
    (n, t_steps), (more_n, more_steps) = _SMALL, _LARGE
    if small == large:
        return str(small)
    for name, one, other in (("N·T", n * t_steps, more_n * more_steps), ("N", n, more_n)):
        if small % one == 0 and small // one * other == large:
            return _times(Fraction(small // one), name)
    return "?"


def _axis(small: int, large: int) -> str:
    # Name another axis: a number, or so many times T and a number.
    slope = Fraction(large - small, _LARGE[1] - _SMALL[1])
    rest = small - slope * _SMALL[1]
    if slope == 0:
        return str(small)
    return _times(slope, "T") + (f"{int(rest):+d}" if rest else "")


def _times(factor: Fraction, name: str) -> str:
    # 3T, T/2, 3T/2
    top = "" if factor.numerator == 1 else str(factor.numerator)
    return f"{top}{name}" + ("" if factor.denominator == 1 else f"/{factor.denominator}")


def equations(kind: str) -> list[str]:
    """Return the equations of a kind of layer, as the docstrings of its functions have them."""
    cell = CELLS.get(kind)
    parts: list[Any] = [LAYERS[kind].apply] if cell is None else [cell.gates, cell.peek, cell.output]
    # A docstring up to where it describes the shapes of arguments, errors or sources.
    others = ("Source:", "Args:", "Raises:", "projected (")
    lines: list[str] = []
    for part in filter(None, parts):
        paragraphs = takewhile(lambda each: not each.startswith(others), (inspect.getdoc(part) or "").split("\n\n"))
        lines += [" ".join(each.split()) for each in paragraphs]
    return lines
