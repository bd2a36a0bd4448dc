"""The Network: what was found in a model, as plain frozen data.

Every source (a Keras model today) becomes a Network, and everything behind it (replay, checks) sees
nothing else. There is no framework object in it, only names, options and NumPy arrays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# What the name of a further use of a layer or model has behind the layer's own name.
_USE = re.compile(r"@\d+(?=/|$)")


@dataclass(frozen=True)
class Tensor:
    """One output of one layer: `Tensor("simple_rnn")` or `Tensor("simple_rnn", 1)` for its state."""

    layer: str
    index: int = 0

    def __str__(self) -> str:
        return self.layer if self.index == 0 else f"{self.layer}:{self.index}"


@dataclass(frozen=True)
class Activation:
    """An activation by Keras' name, with the parameters that differ from Keras' defaults.

    Attributes:
        name: Keras' name.
        parameters: those that differ.
        function: what is computed in its place, by a fault or by an implementation; None for what the name says.
    """

    name: str
    parameters: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    function: Callable[..., Any] | None = None

    # A MappingProxyType cannot be pickled.
    def __reduce__(self) -> tuple[Any, ...]:
        return Activation, (self.name, dict(self.parameters), self.function)

    def __str__(self) -> str:
        if not self.parameters:
            return self.name
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in self.parameters.items())})"


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer: where its numbers come from, what it does to them, in which precision.

    Attributes:
        name: the layer's own name.
        kind: the Keras class, for example `SimpleRNN`.
        inputs: the tensors that it reads; the sequence first.
        options: the constructor options that change a number, by Keras' names.
        weights: NumPy arrays in Keras' layout, by Keras' names: `kernel (D, M)`,
            `recurrent_kernel (M, M)`, `bias (M,)`. A weight that the layer lacks is absent.
        dtype: the precision that the layer computes in, for example `float32`.
        mask: the tensor `(N, T)` that says which steps count, or None.
        initial_state: the tensors `(N, M)` that the state starts from; empty for zeros.
        equations: what stands in the place of the kind's equations, a `Cell` or an `Operation`; None for those
            themselves. Nothing that is read from a model has it: it is how a fault gets an equation wrong.
    """

    name: str
    kind: str
    inputs: tuple[Tensor, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Array] = field(default_factory=dict)
    dtype: str = "float32"
    mask: Tensor | None = None
    initial_state: tuple[Tensor, ...] = ()
    equations: Any = None

    # What a layer holds is read-only, since faults and formats share it with the network that they change.
    def __post_init__(self) -> None:
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))
        object.__setattr__(self, "weights", MappingProxyType({k: frozen(v) for k, v in self.weights.items()}))

    # A MappingProxyType cannot be pickled.
    def __reduce__(self) -> tuple[Any, ...]:
        values = (getattr(self, each.name) for each in fields(self))
        return Layer, tuple(dict(value) if isinstance(value, Mapping) else value for value in values)

    @property
    def reads(self) -> tuple[Tensor, ...]:
        """Every tensor that the layer reads: its inputs, initial states and mask."""
        return (*self.inputs, *self.initial_state, *(() if self.mask is None else (self.mask,)))

    @property
    def reads_its_inside(self) -> bool:
        """Whether an input comes from inside the layer, where nobody sees it, as in Bidirectional's merge."""
        return any(tensor.layer.startswith(f"{self.name}/") for tensor in self.inputs)

    @property
    def parameters(self) -> int:
        """The number of weights, counted as Keras counts them: an array that the model just holds is none."""
        return 0 if self.kind == "Constant" else sum(weight.size for weight in self.weights.values())


# The kind of a layer without equations, whose output is taken as it was observed. Of a layer with several outputs
# each is one, `layer:1` the second; `layer/mask` is the mask that it hands on.
UNCHECKED = "Unchecked"


@dataclass(frozen=True)
class InputSpec:
    """An input of the network.

    Attributes:
        name: its name.
        shape: its shape without the N axis; None where open.
        dtype: its dtype.
        samples: N, where the model fixes it, as stateful models must; else None.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    samples: int | None = None


@dataclass(frozen=True, eq=False)
class Network:
    """A graph of layers in an order in which each comes after what it reads.

    Attributes:
        name: the model's name.
        inputs: what the model takes, in the order in which the model takes it.
        layers: the layers, in topological order.
        outputs: the tensors that the model returns, in its order.
        output_names: what the model calls them, where it returns a mapping; else empty.
    """

    name: str
    inputs: tuple[InputSpec, ...]
    layers: tuple[Layer, ...]
    outputs: tuple[Tensor, ...]
    output_names: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """The number of weights of all layers, those of a layer that is used several times counted once."""
        return sum(layer.parameters for layer in self.layers if not self._is_further_use(layer))

    @property
    def unchecked(self) -> Mapping[str, str]:
        """The layers that have no equations here, with their Keras classes."""
        return {layer.name: layer.options["class"] for layer in self.layers if "class" in layer.options}

    @property
    def stateful(self) -> bool:
        """Whether some layer keeps its state from one call to the next."""
        return any(layer.options.get("stateful") for layer in self.layers)

    @property
    def knows_samples(self) -> bool:
        """Whether something in it belongs to particular samples, so that they can be neither parted nor exchanged."""
        return any(
            layer.kind == "Moved" or (layer.kind == "Constant" and len(layer.weights["value"]) > 1)
            for layer in self.layers
        )

    @property
    def parts_by_sample(self) -> bool:
        """Whether the n-th row of every tensor is the n-th sample's alone, so that some rows are a run themselves."""
        return not self.knows_samples and all(layer.kind != "FoldTime" for layer in self.layers)

    def why_in_order(self, samples: int) -> str:
        """Say why so many samples cannot change places; empty where they can."""
        if samples == 1:
            return "there is one sample"
        return "something in the model belongs to particular samples" if self.knows_samples else ""

    def why_whole(self, samples: int) -> str:
        """Say why so many samples cannot run in batches of their own; empty where they can."""
        return "a stateful model takes its batch whole" if self.stateful else self.why_in_order(samples)

    def _is_further_use(self, layer: Layer) -> bool:
        # `gru@2` is another use of `gru`, and `block@2/gru` of `block/gru`, if they have the same weights.
        own = _USE.sub("", layer.name)
        earlier = self.layers[: self.layers.index(layer)]
        return any(_USE.sub("", each.name) == own and _same_weights(each, layer) for each in earlier)

    def layer(self, name: str) -> Layer:
        """Return the layer of that name.

        Raises:
            KeyError: there is none.
        """
        return {layer.name: layer for layer in self.layers}[name]


# A user may have called a layer `gru@2`.
def _same_weights(a: Layer, b: Layer) -> bool:
    return a.weights.keys() == b.weights.keys() and all(
        np.array_equal(a.weights[name], b.weights[name]) for name in a.weights
    )


def frozen(array: Array) -> Array:
    """Return a read-only copy of an array."""
    # A view would let its owner change it.
    copy = np.array(array)
    copy.flags.writeable = False
    return copy


# The digits of fixed-point numbers, which are limited by their smallest unit alone.
ANY_DIGITS = 53


@dataclass(frozen=True)
class Resolution:
    """How finely numbers are stored: to so many digits, and not below a smallest unit."""

    base: int  # 2 or 10
    digits: int  # how many digits a number has at most, from its first one on
    least: int  # the exponent of the smallest unit, of which each number is a multiple: base**least

    def half_unit(self, numbers: Array) -> Array:
        """Return half a unit of each number's last digit: how far what was stored may be from it."""
        size = np.abs(numbers, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            # A little above, so that no power of ten counts as a nine.
            first = np.floor(np.log2(size) if self.base == 2 else np.log10(size) + 1e-12)
            half: Array = 0.5 * float(self.base) ** np.maximum(first - self.digits + 1, self.least)
        return np.where(np.isfinite(half), half, 0.0)

    def is_coarser_than(self, digits: int) -> bool:
        """Whether numbers of so many binary digits lose some when they are stored so."""
        return self.base == 10 or self.digits < digits or self.digits == ANY_DIGITS

    def __str__(self) -> str:
        if self.digits == ANY_DIGITS:
            return f"multiples of 1/{2**-self.least}"
        if self.base == 2:
            return f"{self.digits} binary digits"
        by_digits = self.digits <= -self.least
        count, what = (self.digits, "significant digit") if by_digits else (-self.least, "decimal")
        return f"{count} {what}{'s' if count > 1 else ''}"


@dataclass(frozen=True, eq=False)
class Recording:
    """What went into an implementation in one call, and what came out."""

    inputs: tuple[Array, ...]  # one for each input of the network
    outputs: tuple[Array, ...]  # one for each output of the network
    # Recurrent layer -> its state h after every step, (N, T, M), in the order in which the layer takes the steps;
    # where it was observed.
    states: Mapping[str, Array] = field(default_factory=dict)
    tensors: Mapping[Tensor, Array] = field(default_factory=dict)  # of other layers, where they were observed
    # How finely outputs and states are stored, by position and by layer, where that is coarser than their type.
    resolutions: Mapping[int | str, Resolution] = field(default_factory=dict)

    def of_samples(self, samples: slice | Array) -> Recording:
        """Return what belongs to some samples."""
        return Recording(
            inputs=tuple(array[samples] for array in self.inputs),
            outputs=tuple(array[samples] for array in self.outputs),
            states={name: h[samples] for name, h in self.states.items()},
            tensors={tensor: x[samples] for tensor, x in self.tensors.items()},
            resolutions=self.resolutions,
        )
