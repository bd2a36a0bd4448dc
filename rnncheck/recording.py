"""What an implementation produced: the other side of every comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rnncheck.network import Array, Tensor


@dataclass(frozen=True, eq=False)
class Recording:
    """What went into an implementation in one call, and what came out.

    Attributes:
        inputs: one array for each input of the network.
        outputs: one array for each output of the network.
        states: layer name -> its state h after every step, (N, T, M), in the order in which the layer takes the
            steps; for each recurrent layer whose states were observed.
        tensors: what other layers produced, where it was observed.
    """

    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    states: Mapping[str, Array] = field(default_factory=dict)
    tensors: Mapping[Tensor, Array] = field(default_factory=dict)

    def first_samples(self, count: int) -> Recording:
        """Return what belongs to the first samples."""
        return Recording(
            inputs=tuple(array[:count] for array in self.inputs),
            outputs=tuple(array[:count] for array in self.outputs),
            states={name: h[:count] for name, h in self.states.items()},
            tensors={tensor: x[:count] for tensor, x in self.tensors.items()},
        )
