"""Whether the errors of a whole run may have lined up: the same rounding, the same way, at every step.

Noise takes the errors of different steps for independent. Those of a network that hardly changes from step to step
are not: adding the same bias to numbers of the same grid rounds the same way each time. A mismatch of a run's end,
which no step vouches for, must therefore exceed what runs do whose errors all lean one way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rnncheck.equations.arithmetic import PLAIN, Analysis, Arithmetic
from rnncheck.equations.operands import X
from rnncheck.equations.replay import States, replay
from rnncheck.network import Array, Network, Recording
from rnncheck.rounding.precision import Precision
from rnncheck.rounding.rounded import Bounds, Rounded

# How many runs lean, each in a way of its own.
_DRAWS = 8


@dataclass(frozen=True)
class Leaning(Analysis):
    """An implementation in which each result is off by one standard deviation of its rounding, always the same way.

    Half of the draws lean up or down, by unit; the others away from zero or towards it.
    """

    bounds: Bounds = Bounds.LEFT_OUT
    draw: int = 0

    def store(self, x: X, precision: Precision) -> X:  # noqa: ARG002 - as every arithmetic has it
        """Return what such an implementation keeps of a result."""
        if not isinstance(x, Rounded):
            return x
        signs = np.random.default_rng(self.draw).choice((-1.0, 1.0), x.shape[1:])
        lean: Array = signs * np.sqrt(x.variance)
        return x.value + (lean * np.sign(x.value) if self.draw % 2 else lean)


def lined_up(
    network: Network, recordings: Sequence[Recording], samples: slice, sequences: Sequence[str] = ()
) -> list[dict[int | str, Array]]:
    """Return how far some samples typically are off where errors line up, for each call.

    Outputs go by their position, the states of recurrent layers, if wanted, by the layer's name.
    """

    def results(arithmetic: Arithmetic) -> Iterator[dict[int | str, Array]]:
        states: States = {}
        for recording in recordings:
            inputs = [array[samples] for array in recording.inputs]
            run = replay(network, inputs, states=states, arithmetic=arithmetic, every_step=bool(sequences))
            states = run.states
            yield dict(enumerate(run.outputs)) | {name: run.sequences[name] for name in sequences}

    plain = list(results(PLAIN))
    energies = [{key: np.zeros(right.shape) for key, right in of_call.items()} for of_call in plain]
    with np.errstate(all="ignore"):
        for draw in range(_DRAWS):
            for energy, got, expected in zip(energies, results(Leaning(draw=draw)), plain, strict=True):
                for key, right in expected.items():
                    energy[key] += np.square(got[key] - right) / _DRAWS
    return [{key: np.sqrt(energy) for key, energy in of_call.items()} for of_call in energies]
