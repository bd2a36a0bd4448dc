"""Cases drawn at random over layers, options, masks, wrappers, shapes and dtypes: what the random search runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rnncheck.api import verify
from rnncheck.cases.case import (
    GATES,
    LAYERS,
    MASK_SOURCES,
    MASKS,
    MERGE_MODES,
    OUTER_STEPS,
    PADDINGS,
    POLICIES,
    RANKS,
    SIZES,
    SPACE,
    Case,
)
from rnncheck.cases.deviations import deviates
from rnncheck.equations.activations import ACTIVATIONS
from rnncheck.errors import InputError
from rnncheck.report.entry import Entry

# Activations that keep the state between fixed limits whatever the recurrent kernel.
BOUNDED = ("tanh", "sigmoid", "softsign", "hard_tanh", "hard_sigmoid", "sparse_sigmoid", "softmax")


# Where gates, or what they let through, are not bounded, the state may grow with every step.
_STEPS_OF_UNBOUNDED_GATES = 8
_STEPS_OF_UNBOUNDED_ACTIVATIONS = 60
_STEPS = 400
_LONGEST_UNROLLED = 12
_LARGEST = 256 * 2**20  # bytes


def verify_case(case: Case) -> Entry:
    """Build a case, run it in Keras in this process, and check it."""
    (entry,) = verify(case).entries
    return entry


def random_case(seed: int, numbers: int = 400_000) -> Case:
    """Draw a valid case that Keras is expected to compute as its equations say.

    Args:
        seed: of the draw, and of the case's weights and inputs. The same seed draws the same case.
        numbers: upper limit on the number of state values; tiny sizes may exceed it.
    """
    draw = _Draw(np.random.default_rng(seed))
    while True:
        try:
            case = Case(**draw.options(numbers), seed=seed)
        except InputError:  # some combinations exclude each other: draw again
            continue
        if not deviates(case) and case.bytes_needed <= _LARGEST:
            return case


class _Draw:
    """Draws options, each from a distribution of its own."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def options(self, numbers: int) -> dict[str, Any]:
        layer = self.one_of(LAYERS, [3, 3, 3, 1, 1.5, 0.7, 0.7, 0.5])
        wrapper = self.one_of(("none", "bidirectional", "time_distributed"), [5, 4, 2.5])
        kind = self.kind_options(layer, wrapper)
        common = self.common_options()
        sizes = self.sizes(numbers, {"layer": layer, "wrapper": wrapper, **kind, **common})
        common["unroll"] = sizes["T"] <= _LONGEST_UNROLLED and self.sometimes(0.5)
        if _longest({**kind, **common}) == _STEPS and common["activation"] in BOUNDED and self.sometimes(0.5):
            common["recurrent_scale"] = float(np.round(self.rng.uniform(0.3, 3.0), 2))
        return {"layer": layer, "wrapper": wrapper, **kind, **common, **sizes}

    def kind_options(self, layer: str, wrapper: str) -> dict[str, Any]:
        """Draw the options that only some layers and wrappers have."""
        options: dict[str, Any] = {"layers": self.one_of((1, 2, 3), [16, 3, 1])}
        if layer in {"rnn", "stacked"}:
            options["cell"] = self.one_of(tuple(GATES))
        if layer == "stacked":
            options["cells"] = self.one_of((2, 3, 4))
        if layer in RANKS:
            options |= {"kernel_size": self.one_of((1, 2, 3)), "padding": self.one_of(PADDINGS)}
            options[self.one_of(("strides", "dilation_rate"))] = self.one_of((1, 2))
        if wrapper == "bidirectional":
            options |= {"merge_mode": self.one_of(MERGE_MODES), "own_backward": self.sometimes(0.2)}
        cell = options.get("cell", layer)
        if cell != "simple_rnn" and self.sometimes(0.3):
            options["recurrent_activation"] = self.activation()
        if cell not in {"simple_rnn", "gru"}:
            options["unit_forget_bias"] = self.sometimes(0.5)
        if cell == "gru":
            options["reset_after"] = self.sometimes(0.5)
        return options

    def common_options(self) -> dict[str, Any]:
        """Draw the options that every layer has."""
        mask = self.one_of(tuple(MASKS)) if self.sometimes(0.5) else "none"
        return {
            "dtype": self.one_of(tuple(POLICIES), [24, 4, 3, 3, 3, 3]),
            "activation": self.activation() if self.sometimes(0.4) else "tanh",
            "use_bias": self.sometimes(0.9),
            "return_sequences": self.sometimes(0.5),
            "return_state": self.sometimes(0.3),
            "go_backwards": self.sometimes(0.3),
            "stateful": self.sometimes(0.2),
            "initial_state": self.sometimes(0.4),
            "mask": mask,
            "mask_from": "input" if mask == "none" else self.one_of(tuple(MASK_SOURCES), [2, 1, 1]),
            "zero_output_for_mask": self.sometimes(0.3),
            "dropout": 0.3 if self.sometimes(0.2) else 0.0,
            "recurrent_dropout": 0.3 if self.sometimes(0.2) else 0.0,
            "flatten": self.sometimes(0.2),
            "dense_activation": self.one_of(sorted(ACTIVATIONS)) if self.sometimes(0.3) else "linear",
            "weights": "keras" if self.sometimes(0.05) else "random",
        }

    def sizes(self, numbers: int, options: dict[str, Any]) -> dict[str, int]:
        """Draw sizes of which small ones are as likely as large ones, within the numbers allowed."""
        wrapper = options["wrapper"]
        crowd = math.prod(SPACE[: RANKS.get(options["layer"], 0)])
        crowd *= OUTER_STEPS if wrapper == "time_distributed" else 1
        copies = options["layers"] * options.get("cells", 1) * (2 if wrapper == "bidirectional" else 1)
        t_steps, m = 1 + self.size(min(_longest(options), _STEPS // crowd + 5)), self.size(max(300 // crowd, 12))
        room = max(1, numbers // (m * t_steps * crowd * copies))
        n = min(room, 256 if self.sometimes(0.5) else self.size(32))
        return dict(zip(SIZES, (n, t_steps, self.size(max(128 // crowd, 6)), m, 2 * self.size(8)), strict=True))

    def size(self, largest: int) -> int:
        return round(math.exp(self.rng.uniform(0.0, math.log(largest))))

    def sometimes(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def activation(self) -> str:
        return str(self.one_of([name for name in sorted(ACTIVATIONS) if name != "glu"]))

    def one_of(self, choices: Sequence[Any], weights: Sequence[float] = ()) -> Any:
        """Draw one of the choices, as often as its weight says."""
        shares = np.array(weights or [1.0] * len(choices))
        return choices[int(self.rng.choice(len(choices), p=shares / shares.sum()))]


def _longest(options: dict[str, Any]) -> int:
    """Return how many steps keep the states moderate."""
    if options.get("recurrent_activation", "sigmoid") not in BOUNDED:
        return _STEPS_OF_UNBOUNDED_GATES
    if options["activation"] not in BOUNDED and options.get("layer") != "simple_rnn":
        return _STEPS_OF_UNBOUNDED_ACTIVATIONS
    return _STEPS
