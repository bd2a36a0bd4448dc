"""A walk through a network, as plain data, and how it looks."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rnncheck.errors import escaped
from rnncheck.network import Array

if TYPE_CHECKING:
    from rich.console import Console

# Of more steps than this, the first and the last are shown unless somebody says which.
_MOST_STEPS = 12

# How many units are shown at most, and on a page.
_MOST_UNITS = 8


@dataclass(frozen=True, eq=False)
class LayerWalk:
    """The steps of a recurrent layer for one sample, in the order in which it takes them.

    Attributes:
        name: its name.
        kind: its Keras class.
        by_hand: the state h after every step by the equations, which run from their own states, (T, ..., M); at a
            step that does not count, what the layer puts out.
        observed: the same as the framework has it; None where the model did not run.
        counts: which steps a mask lets count, (T,); None without a mask.
        gates: what each activation gave at every step, (T, ..., M), by name, and the memory c; empty unless asked
            for. A SimpleRNN has no gates: `sum` is what its activation was given.
        backwards: whether it takes the last step first.
        sequences: how many sequences a sample is for it, inside TimeDistributed; this is the first.
    """

    name: str
    kind: str
    by_hand: Array
    observed: Array | None = None
    counts: Array | None = None
    gates: Mapping[str, Array] = field(default_factory=dict)
    backwards: bool = False
    sequences: int = 1


@dataclass(frozen=True, eq=False)
class Walk:
    """A network and what it makes of one sample, step by step: by the equations, and by the framework if it ran.

    Attributes:
        name: the model's name.
        layers: of each input and layer its name, its kind, the shape that it puts out, and its number of parameters.
        parameters: the number of parameters of all.
        weights: the weights by `layer/name`.
        sample: which sample it is.
        samples: N.
        steps: which steps are shown, from the first up to, without it, the second; None for all of them, or of many
            the first and the last.
        inputs: the sample's inputs by name, (T, D).
        recurrent: the recurrent layers.
        outputs: the sample's outputs by the equations, by name.
        predicted: the same as the model returns them; empty where it did not run.
        notes: what else a reader must know.
        framework: what the model runs in, `Keras` or `PyTorch`.
    """

    name: str
    layers: tuple[tuple[str, str, str, int], ...]
    parameters: int
    weights: Mapping[str, Array]
    sample: int
    samples: int
    steps: tuple[int, int] | None
    inputs: Mapping[str, Array]
    recurrent: tuple[LayerWalk, ...]
    outputs: Mapping[str, Array]
    predicted: Mapping[str, Array]
    notes: tuple[str, ...] = ()
    framework: str = "Keras"

    # Rich is loaded only when somebody looks.
    def __str__(self) -> str:
        from rnncheck.report.console import as_text

        return as_text(lambda console: print_walk(self, console, option=_IN_PYTHON))

    def _repr_html_(self) -> str:
        parts = []
        for block in _blocks(self, _MOST_UNITS, _IN_PYTHON):
            if isinstance(block, str):
                parts.append(f"<p>{html.escape(escaped(block))}</p>")
                continue
            lines = [("th", block.columns), *(("td", row) for row in block.rows)]
            cells = ("".join(f"<{tag}>{html.escape(escaped(text))}</{tag}>" for text in row) for tag, row in lines)
            head, *rows = (f"<tr>{row}</tr>" for row in cells)
            caption = f"<caption>{html.escape(escaped(block.title))}</caption>"
            body = "".join(rows)
            parts.append(f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>")
        return f"<div>{''.join(parts)}</div>"


class _Table(NamedTuple):
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1  # how many columns in front hold text; numbers are set to the right


# How somebody asks for other steps.
_IN_PYTHON = "steps=({}, {})"


def print_walk(walk: Walk, console: Console, option: str = "--steps {}:{}") -> None:
    """Print a walk: the layers, the weights, each recurrent layer's steps, and the outputs.

    `option` is how the reader asks for other steps.
    """
    from rnncheck.report.tables import new_table, shown

    # Two columns of words, one of the difference, and as many of units as fit.
    units = max(1, min(_MOST_UNITS, (console.width - 26) // 15))
    for place, block in enumerate(_blocks(walk, units, option)):
        if isinstance(block, str):
            console.print(shown(block))
            continue
        if place:
            console.print()
        console.print(shown(block.title, "bold"))
        table = new_table("", block.columns, block.columns[block.texts :])
        for row in block.rows:
            table.add_row(*map(shown, row))
        console.print(table)


def _blocks(walk: Walk, units: int, option: str) -> Iterator[str | _Table]:
    yield from walk.notes
    rows = [(name, kind, shape, f"{count:,}") for name, kind, shape, count in walk.layers]
    yield _Table(f"{walk.name}: {walk.parameters:,} parameters", ("layer", "kind", "output", "parameters"), rows, 3)
    shapes = [(name, str(weight.shape)) for name, weight in walk.weights.items()]
    yield _Table("Weights", ("weight", "shape"), shapes, 2)
    for layer in walk.recurrent:
        title = f"Sample {walk.sample} of {walk.samples}, layer {layer.name!r}: h after each step"
        yield from _steps(walk, title, layer, units, option)
    lines: list[_Line] = []
    returned = "predict" if walk.framework == "Keras" else walk.framework
    for name, by_hand in walk.outputs.items():
        lines += _compared(name, by_hand, walk.predicted.get(name), returned)
    yield from _numbers(f"Output of sample {walk.sample}", "output", lines, units)


def _steps(walk: Walk, title: str, layer: LayerWalk, units: int, option: str) -> Iterator[str | _Table]:
    from rnncheck.report.network_table import equations

    t_steps = len(layer.by_hand)
    first, end = walk.steps or (0, t_steps)
    chosen = list(range(first, min(end, t_steps)))
    left_out = range(_MOST_STEPS // 2, t_steps - _MOST_STEPS // 2)
    if walk.steps is None and left_out:
        chosen = [t for t in chosen if t not in left_out]
    title += ", the last step first" * layer.backwards
    title += f"; of {layer.sequences} sequences the first" * (layer.sequences > 1)
    lines: list[_Line] = []
    for t in chosen:
        counts = layer.counts is None or layer.counts[t]
        gates = [(name, gate[t]) for name, gate in layer.gates.items() if counts]
        observed = None if layer.observed is None else layer.observed[t]
        lines += _compared(f"{t}{'' if counts else ' masked'}", layer.by_hand[t], observed, walk.framework, gates)
    yield from _numbers(title, "step", lines, units)
    yield " ".join(equations(layer.kind))
    if walk.steps is None and left_out:
        told = option.format(left_out.start, left_out.stop)
        yield f"steps {left_out.start} to {left_out.stop - 1} are left out; {told} shows them"


class _Line(NamedTuple):
    name: str
    who: str
    numbers: Array
    difference: str = ""


def _compared(
    name: str, by_hand: Array, observed: Array | None, observer: str, further: Sequence[tuple[str, Array]] = ()
) -> list[_Line]:
    # Further numbers of a place, what was observed there, and what the equations give.
    lines = [_Line("", who, numbers.ravel()) for who, numbers in further]
    difference = ""
    if observed is not None:
        lines.append(_Line("", observer, observed.ravel()))
        difference = f"{np.abs(observed.astype(np.float64) - by_hand).max(initial=0.0):.1e}"
    lines.append(_Line("", "by hand", by_hand.ravel(), difference))
    return [lines[0]._replace(name=name), *lines[1:]]


def _numbers(title: str, first: str, lines: Sequence[_Line], units: int) -> Iterator[str | _Table]:
    width = max((line.numbers.size for line in lines), default=0)
    shown, compared = min(units, width), any(line.difference for line in lines)
    rows = []
    for line in lines:
        texts = [f"{number:.8g}" for number in line.numbers[:shown]]
        rows.append([line.name, line.who, *texts, *[""] * (shown - len(texts)), *[line.difference] * compared])
    yield _Table(title, [first, "", *(f"[{unit}]" for unit in range(shown)), *["differ by"] * compared], rows, 2)
    if width > shown:
        yield f"the first {shown} of {width} numbers"
