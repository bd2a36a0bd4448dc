"""Networks that differ from another in the weights of one layer alone: many of them in one replay.

What a replay of few samples costs is its steps, whatever is computed in them. So the samples are taken once for each
network, one network's after the other's, and the layer's weights become `Stacked`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from rnncheck.equations import CELLS, widest
from rnncheck.network import Array, Layer, Network
from rnncheck.replay import Analysis, rounded_weights
from rnncheck.stacked import Stacked

# How many numbers of a state are computed at a step at most: more take as long as one network's after the other's.
_AT_ONCE = 2**12


@dataclass(frozen=True, kw_only=True)
class Variants(Analysis):
    """The arithmetic of several networks: one network's equations, with weights of their own in one layer.

    Attributes:
        layer: that layer.
        by_network: its weights in each of them, of the same names and shapes.
        samples: N of each network's run.
    """

    layer: Layer
    by_network: Sequence[Mapping[str, Array]]
    samples: int

    @property
    def runs(self) -> int:
        """How many networks there are."""
        return len(self.by_network)

    def rounded(self, layer: Layer) -> Mapping[str, Array | Stacked]:
        """Return a layer's weights, rounded to its precision, for all networks."""
        if layer is not self.layer:
            return rounded_weights(layer)
        each = [rounded_weights(replace(layer, weights=weights)) for weights in self.by_network]
        samples = self.samples if layer.kind in CELLS else None
        return {name: Stacked(np.stack([weights[name] for weights in each]), samples) for name in each[0]}


def in_variants(right: Network, wrongs: Sequence[Network], samples: int) -> Iterator[tuple[list[int], Variants]]:
    """Yield those networks that can run at once, by their places among all, with the arithmetic of their run.

    Args:
        right: the network whose equations they have.
        wrongs: networks that differ from it, in whatever.
        samples: N of the run.
    """
    at_once = _AT_ONCE // (samples * widest(right))
    if not right.parts_by_sample or at_once < 2:
        return
    changed = [_changed_layer(right, wrong) for wrong in wrongs]
    for layer in right.layers:
        alike = [place for place, each in enumerate(changed) if each is layer]
        for start in range(0, len(alike), at_once):
            places = alike[start : start + at_once]
            weights = [wrongs[place].layer(layer.name).weights for place in places]
            yield places, Variants(bounded=False, layer=layer, by_network=weights, samples=samples)


def _changed_layer(right: Network, wrong: Network) -> Layer | None:
    """Return the layer in whose weights, those of a product, a network differs from another; None if in more."""
    different = [pair for pair in zip(right.layers, wrong.layers, strict=False) if pair[0] is not pair[1]]
    if len(different) != 1 or len(wrong.layers) != len(right.layers):
        return None
    ((old, new),) = different
    names = [field.name for field in fields(Layer) if field.name not in {"weights", "options"}]
    is_variant = (
        (old.kind in CELLS or old.kind == "Dense")
        and old.weights["kernel"].ndim == 2
        and _shapes(old) == _shapes(new)
        and old.options.keys() == new.options.keys()
        and all(new.options[name] is option for name, option in old.options.items())
        and all(getattr(old, name) is getattr(new, name) for name in names)
        and all(getattr(right, name) is getattr(wrong, name) for name in ("inputs", "outputs"))
    )
    return old if is_variant else None


def _shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    return {name: weight.shape for name, weight in layer.weights.items()}
