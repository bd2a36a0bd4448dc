"""Networks that differ from another in the weights of one layer alone: many of them in one replay.

What a replay of few samples costs is its steps, whatever is computed in them. So the samples are taken once for each
network, one network's after the other's, and the layer's weights become `Stacked`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from rnncheck.checks.end_to_end import compare_part, comparisons_of, judged_outputs
from rnncheck.checks.verdicts import Row
from rnncheck.equations.arithmetic import Analysis, rounded_weights
from rnncheck.equations.cells import CELLS, widest
from rnncheck.faults.catalogue.fault import shapes
from rnncheck.network import Array, Layer, Network, Recording
from rnncheck.rounding.rounded import Bounds

# How many numbers of a state are computed at a step at most: more take as long as one network's after the other's.
_AT_ONCE = 2**12


@dataclass(frozen=True, kw_only=True)
class Variants(Analysis):
    """The arithmetic of several networks: one network's equations, with weights of their own in one layer."""

    layer: Layer
    by_network: Sequence[Mapping[str, Array]]  # the layer's weights in each of them, of the same names and shapes
    samples: int  # N of each network's run

    @property
    def runs(self) -> int:
        """How many networks there are."""
        return len(self.by_network)

    def rounded(self, layer: Layer) -> Mapping[str, Array | Stacked]:
        """Return a layer's weights, rounded to its precision, for all networks."""
        if layer is not self.layer:
            return rounded_weights(layer)
        each = [rounded_weights(replace(layer, weights=weights)) for weights in self.by_network]
        # A cell has N rows of each network at every step; other layers have a network's rows of all steps in a row.
        samples = self.samples if layer.kind in CELLS else None
        return {name: Stacked(np.stack([weights[name] for weights in each]), samples) for name in each[0]}


def in_variants(right: Network, wrongs: Sequence[Network], samples: int) -> Iterator[tuple[list[int], Variants]]:
    """Yield the wrong networks that can run at once, by their places, with the arithmetic of a run of N samples."""
    at_once = _AT_ONCE // (samples * widest(right))
    if not right.parts_by_sample or at_once < 2:
        return
    changed = [_changed_layer(right, wrong) for wrong in wrongs]
    for layer in right.layers:
        alike = [place for place, each in enumerate(changed) if each is layer]
        for start in range(0, len(alike), at_once):
            places = alike[start : start + at_once]
            weights = [wrongs[place].layer(layer.name).weights for place in places]
            yield places, Variants(bounds=Bounds.FREE, layer=layer, by_network=weights, samples=samples)


def _changed_layer(right: Network, wrong: Network) -> Layer | None:
    # The layer in whose weights, those of a product, a network differs from the right one; None if in more.
    different = [pair for pair in zip(right.layers, wrong.layers, strict=False) if pair[0] is not pair[1]]
    if len(different) != 1 or len(wrong.layers) != len(right.layers):
        return None
    ((old, new),) = different
    names = [field.name for field in fields(Layer) if field.name not in {"weights", "options"}]
    is_variant = (
        (old.kind in CELLS or old.kind == "Dense")
        and old.weights["kernel"].ndim == 2
        and shapes(old) == shapes(new)
        and old.options.keys() == new.options.keys()
        and all(new.options[name] is option for name, option in old.options.items())
        and all(getattr(old, name) is getattr(new, name) for name in names)
        and all(getattr(right, name) is getattr(wrong, name) for name in ("inputs", "outputs"))
    )
    return old if is_variant else None


def rows_of_variants(network: Network, recordings: Sequence[Recording], variants: Variants) -> list[list[Row]]:
    """Return what `end_to_end_rows` does for each variant of a network, where no step on the way is checked."""
    comparisons = list(comparisons_of(recordings, None, {}))
    compared = compare_part(network, recordings, comparisons, variants, slice(0, variants.samples))
    return [judged_outputs(network, recordings, comparisons, [seen], steps_checked=False) for seen in compared]


@dataclass(frozen=True, eq=False)
class Stacked:
    """F arrays of one shape, each for those rows of an operand that are of its own network.

    The rows are those of any number of steps, of F networks within a step, and of N samples within a network.
    """

    arrays: Array  # (F, ...)
    samples: int | None  # N; None where a network's rows are all in a row

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one network's array."""
        return self.arrays.shape[1:]

    def __getitem__(self, key: Any) -> Stacked:
        """Return that part of every network's array."""
        return Stacked(self.arrays[(slice(None), *(key if isinstance(key, tuple) else (key,)))], self.samples)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any) -> Any:
        # NumPy asks this for `a @ stacked`, and for a function of each number.
        if ufunc is np.matmul:
            return self.__rmatmul__(operands[0])
        return Stacked(getattr(ufunc, method)(self.arrays), self.samples)

    def __rmatmul__(self, a: Array) -> Array:
        """Return each row of a (R, n) times its own network's matrix (n, M): (R, M)."""
        rows, n = a.shape
        return np.reshape(a.reshape(*self._rows(rows), n) @ self.arrays, (rows, -1))

    def for_rows(self, rows: int) -> Array:
        """Return each row's own array (M,): (R, M)."""
        placed = np.broadcast_to(self.arrays[:, np.newaxis], (*self._rows(rows), *self.shape))
        return placed.reshape(rows, *self.shape)

    def _rows(self, rows: int) -> tuple[int, int, int]:
        # Steps, networks and samples of so many rows.
        networks = len(self.arrays)
        samples = self.samples or rows // networks
        return rows // (networks * samples), networks, samples
