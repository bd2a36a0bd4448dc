"""Exported files, which another runtime runs: held against the model that they come from by their outputs.

An export is run in a process of its own. Its inputs and outputs are matched with those of the model by name, then by
shape; what the model has and the export does not is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

from rnncheck.errors import InputError, escaped
from rnncheck.frameworks.apart import RuntimeFailure, attempts, run_apart
from rnncheck.frameworks.arrivals import Held
from rnncheck.frameworks.keras.files.modelfile import ModelFile
from rnncheck.frameworks.onnx.file import NO_OPERATORS
from rnncheck.network import Array
from rnncheck.rounding.precision import PRECISIONS


class Runtime(NamedTuple):
    """What runs a kind of files."""

    name: str
    package: str
    extra: str
    file: Path  # see `rnncheck.frameworks.apart`
    resets: bool = False  # whether it can set back the states of a file


_HERE = Path(__file__).parent
RUNTIMES = {
    ".onnx": Runtime("ONNX Runtime", "onnxruntime", "onnx", _HERE / "onnx" / "runtime.py"),
    ".tflite": Runtime("LiteRT", "ai_edge_litert", "litert", _HERE / "litert" / "runtime.py", resets=True),
    ".xml": Runtime("OpenVINO", "openvino", "openvino", _HERE / "openvino" / "runtime.py", resets=True),
}

# What a runtime says of a file that it cannot run, and what helps.
_NO_FLEX = (
    "the file has operators of TensorFlow, which LiteRT lacks: export a model whose layers have unroll=True, or fix "
    "its batch to 1 and convert it with tf.lite.TFLiteConverter.from_keras_model"
)
_HINTS = {
    "Flex": _NO_FLEX,
    "TensorList": _NO_FLEX,
    "No module named 'tf2onnx'": 'Keras needs tf2onnx to export to ONNX. Run: pip install "rnncheck[onnx-export]"',
    **{f"No Op registered for {name}": f"ONNX has no {name}. {hint}" for name, hint in NO_OPERATORS.items()},
}
_MOST_SAID = 200

# Of so many outputs of one shape all orders are tried.
_MOST_ALIKE = 6

# What stands between two calls where the states are set back.
RESET: Mapping[str, Array] = {}

Shape = tuple[int | None, ...]


class Slot(NamedTuple):
    """An input or an output, of a model or of an export, with its samples in the first axis."""

    name: str
    shape: Shape  # None where it is open
    dtype: str = ""


@dataclass(frozen=True)
class Export:
    """An exported file."""

    path: Path
    runtime: Runtime
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]

    @property
    def name(self) -> str:
        """Its name in a report."""
        return escaped(self.path.name)


def open_export(path: Path) -> Export:
    """Open an exported file, as its runtime describes it.

    Raises:
        InputError: its kind is not known, its runtime is not installed, or cannot load it.
    """
    runtime = RUNTIMES.get(path.suffix.lower())
    if runtime is None:
        raise InputError(f"{path}: got a file of another kind; expected one that ends with {', '.join(RUNTIMES)}.")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; expected an export. Check the path.")
    if find_spec(runtime.package) is None:
        raise InputError(
            f"{path}: got no {runtime.name} here; expected it, to run the file. "
            f'Run: pip install "rnncheck[{runtime.extra}]"'
        )
    try:
        found = run_apart(runtime.name, runtime.file, "describe", str(path.resolve()))
    except RuntimeFailure as failure:
        raise InputError(f"{path}: {told(str(failure))}; expected a file that {runtime.name} can load.") from failure
    inputs, outputs = (
        tuple(Slot(name, tuple(shape), dtype) for name, shape, dtype in found[which])
        for which in ("inputs", "outputs")
    )
    return Export(path, runtime, inputs, outputs)


# What Keras exports to, by its own word for it, and the suffix of the file.
EXPORTERS = {"onnx": ".onnx", "litert": ".tflite"}


def exported(name: str, file: ModelFile, inputs: Sequence[Array], form: str, folder: Path) -> Export:
    """Export the file of a model into a folder, with Keras' own exporter.

    Raises:
        InputError: it cannot be exported, or its runtime cannot load what was written.
    """
    path = folder / f"exported{EXPORTERS[form]}"
    try:
        run_apart("Keras", _HERE / "keras" / "exporter.py", "export", file, list(inputs), str(path), form)
    except RuntimeFailure as failure:
        raise InputError(
            f"{name}: {told(str(failure))}; expected a model that Keras can export to {form}."
        ) from failure
    return open_export(path)


def told(said: str) -> str:
    """Return what a runtime said, in short, or what that means and what helps, where that is known."""
    hint = _hint(said)
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", said)
    return hint or (text if len(text) <= _MOST_SAID else f"{text[:_MOST_SAID]}...")


def _hint(said: str) -> str:
    return next((hint for mark, hint in _HINTS.items() if mark in said), "")


class Contents(NamedTuple):
    """What an export holds."""

    arrays: list[Held]  # of floats, and of integers that stand for some
    operators: Counter[str]  # how many nodes have each
    precision: str = ""  # the format that it computes in, where that has fewer digits than float32

    @property
    def in_8_bits(self) -> bool:
        """Whether what is computed has 8 bits too, not only weights."""
        return bool(self.operators.keys() & {"QUANTIZE", "QuantizeLinear"})

    @property
    def hint(self) -> str:
        """What helps where its runtime lacks some of its operators; else empty."""
        return _hint(" ".join(self.operators))


def contents_of(export: Export) -> Contents:
    """Return what an export holds.

    Raises:
        InputError: it cannot be read.
    """
    path = str(export.path.resolve())
    try:
        arrays, operators, precision = run_apart(export.runtime.name, export.runtime.file, "contents", path)
    except RuntimeFailure as failure:
        raise InputError(
            f"{export.path}: {told(str(failure))}; expected a file whose weights can be read."
        ) from failure
    held = []
    for each in arrays:
        with suppress(ValueError):  # integers whose scales are not understood stand for nothing known
            held += [Held.of(*each)] if each[2] in PRECISIONS or each[3].size else []
    return Contents(held, Counter(operators), precision)


# The outputs of each call in a row, by name; a text where the runtime refused one.
Outcome = list[dict[str, Array]] | str


def run_export(export: Export, uses: Sequence[Sequence[Mapping[str, Array]]]) -> list[Outcome]:
    """Use an export in several ways, each from its start on: return what became of the calls of each.

    Raises:
        RuntimeFailure: its process died, or took too long.
    """
    path = str(export.path.resolve())
    found = attempts(export.runtime.name, export.runtime.file, "use", [(path, calls) for calls in uses])
    return [told(problem) if problem else result for problem, result in found]


def matched(
    what: str, wanted: Sequence[Slot], there: Sequence[Slot], distance: Callable[[str, str], float] | None = None
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the name in an export of each input or output of a model, and notes on those that no name tells.

    Of several that have one shape, `distance` tells how far the numbers of the first, a model's, are from those of
    the second, an export's; the nearest are taken.

    Raises:
        InputError: one has no counterpart, or several.
    """
    names: dict[str, str] = {}
    for slot in wanted:
        same = [each for each in there if _plain(each.name) == _plain(slot.name)]
        if len(same) == 1:
            names[slot.name] = same[0].name
    notes = []
    for slot in wanted:
        if slot.name in names:
            continue
        alike = [each.name for each in there if each.name not in names.values() and _fit(slot.shape, each.shape)]
        rivals = [each.name for each in wanted if each.name not in names and _fit(slot.shape, each.shape)]
        alone = len(alike) == len(rivals) == 1
        if not alone and (distance is None or not len(rivals) <= len(alike) <= _MOST_ALIKE):
            found = ", ".join(f"{each.name!r} {written(each.shape)}" for each in there) or "none"
            raise InputError(
                f"{what} {slot.name!r} {written(slot.shape)}: got {found} in the export; expected one by that name "
                "or a single one of that shape. Export it with the names of the model."
            )
        chosen = alike
        if not alone and distance is not None:
            between = {(a, b): distance(a, b) for a in rivals for b in alike}
            chosen = list(
                min(
                    permutations(alike, len(rivals)),
                    key=lambda order: sum(between[pair] for pair in zip(rivals, order, strict=True)),
                )
            )
        why = "the shapes agree" if alone else "its numbers are the nearest"
        for own, other in zip(rivals, chosen, strict=True):
            names[own] = other
            notes.append(f"its {what} {other!r} is taken for {own!r}, since {why}")
    return names, tuple(notes)


# Exporters of TensorFlow write more around a name.
def _plain(name: str) -> str:
    return name.removeprefix("serving_default_").removesuffix(":0").lower()


def _fit(one: Shape, other: Shape) -> bool:
    # The samples may be fixed in either.
    return len(one) == len(other) and all(None in {a, b} or a == b for a, b in zip(one[1:], other[1:], strict=True))


def written(shape: Shape) -> str:
    """Return a shape as a message has it."""
    sizes = ("any" if size is None else str(size) for size in shape)
    return f"({', '.join(sizes)})"
