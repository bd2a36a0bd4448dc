"""The equations of the recurrent layers, in textbook form, each written once.

Every function runs on plain float64 arrays, which gives the replay, and on `Rounded`, which gives bound and
noise as well. R is any number of rows: N at one step of the replay, or all N·T steps at once in the step check.

A recurrent layer is a `Cell`: three or four functions, from the input to the new states, which take weights and
options by keyword, under Keras' names. To add one, write them and `register` them. The layers without states are in
`rnncheck.equations.layers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

from rnncheck.equations.activations import activate
from rnncheck.equations.layers import affine
from rnncheck.equations.operands import Options, Sizes, Weights, X, keywords
from rnncheck.equations.windows import convolve
from rnncheck.network import Activation, Layer, Network

Gates = tuple[X, ...]
Part = Callable[..., Any]  # a part of a cell, which names the weights and options that it takes


@dataclass(frozen=True)
class Loop:
    """What a recurrent layer does around its step. Only faults change it."""

    # (the state before a step that does not count, what the step would make of it) -> the state after it; None to
    # keep the state
    passed: Callable[[X, X], X] | None = None
    repeats_first: bool = False  # whether such a step repeats the output of the first step, not of the step before
    returned: int = -1  # which step's output is the layer's, without return_sequences
    across_samples: bool = False  # whether a sample starts from the states that the one before it left
    # (the states after every step, those before the first) -> what is recorded as the state of every step; None for h
    recorded: Callable[[Sequence[tuple[X, ...]], tuple[X, ...]], Sequence[X]] | None = None


# The order of the gates' blocks in Keras' kernels (D, G·M) and biases (G·M,), or (2, G·M) with a row for h·U.
LSTM_GATES = ("i", "f", "c", "o")
GRU_GATES = ("z", "r", "h")


@dataclass(frozen=True)
class Cell:
    """One step of a recurrent layer, in the four parts that a check needs apart."""

    states: tuple[str, ...]  # their names: h, which is also the output, then the memory c where there is one
    # (x (R, D), weights, options) -> the share of the step that depends on the input alone
    project: Callable[[X, Weights, Options], X]
    # (projected, h, weights, options) -> what is computed from the input and the previous h
    gates: Callable[[X, X, Weights, Options], Gates]
    # (gates, h or the new c, options) -> the new h
    output: Callable[[Gates, X, Options], X]
    activations: tuple[str, ...]  # what each of them gives, in the order in which they are computed
    loop: Loop = Loop()  # what is done around the step
    unit: float | None = None  # the unit roundoff of its products; None for that of the layer's precision

    @property
    def remembers(self) -> bool:
        """Whether it has a memory c_t = gates[0]*c_{t-1} + gates[1], which can be run over many steps at once."""
        return len(self.states) > 1

    def step(self, projected: X, states: tuple[X, ...], weights: Weights, options: Options) -> tuple[X, ...]:
        """Return the new states, in the order of `states`."""
        gates = self.gates(projected, states[0], weights, options)
        if not self.remembers:
            return (self.output(gates, states[0], options),)
        c = gates[0] * states[1] + gates[1]
        return self.output(gates, c, options), c

    def step_in_parts(
        self, projected: X, states: tuple[X, ...], weights: Weights, options: Options
    ) -> tuple[dict[str, tuple[X, X]], tuple[X, ...]]:
        """Return what each activation was given and gave, by its name, and the new states."""
        seen: list[tuple[X, X]] = []

        def watched(activation: Activation) -> Activation:
            def function(x: X) -> X:
                seen.append((x, activate(activation, x)))
                return seen[-1][1]

            return Activation(activation.name, function=function)

        own = {k: watched(each) if isinstance(each, Activation) else each for k, each in options.items()}
        after = self.step(projected, states, weights, own)
        return dict(zip(self.activations, seen, strict=True)), after


# By Keras' class name.
CELLS: dict[str, Cell] = {}


def register(
    *kinds: str, states: tuple[str, ...], activations: tuple[str, ...], project: Part, gates: Part, output: Part
) -> None:
    """Register the step of some kinds of recurrent layers; see `Cell` for the arrays that its parts take."""
    cell = Cell(states, _part(project, 1), _part(gates, 2), _part(output, 2), activations)
    CELLS.update(dict.fromkeys(kinds, cell))


def _part(function: Part, arrays: int) -> Part:
    # Takes the arrays, then weights and options as mappings, and passes on what the function names.
    names = keywords(function)

    @wraps(function)
    def part(*arguments: Any) -> Any:
        named = {name: given[name] for given in arguments[arrays:] for name in names if name in given}
        return function(*arguments[:arrays], **named)

    return part


def cell_of(layer: Layer) -> Cell:
    """Return the equations of a recurrent layer: its own, or those of its kind."""
    return layer.equations or CELLS[layer.kind]


def units(layer: Layer) -> int:
    """Return M of a recurrent layer: recurrent_kernel is (..., M, gates·M)."""
    return int(layer.weights["recurrent_kernel"].shape[-2])


def widest(network: Network) -> int:
    """Return M of the recurrent layer with the most units; 1 without any."""
    return max((units(layer) for layer in network.layers if layer.kind in CELLS), default=1)


def split(z: X, names: tuple[str, ...]) -> Gates:
    """Cut (..., G·M) into G blocks (..., M), one for each gate."""
    m = z.shape[-1] // len(names)
    return tuple(z[..., k * m : (k + 1) * m] for k in range(len(names)))


def project(x: X, *, kernel: Any, bias: Any = None, bias_first: bool = False) -> X:
    """x·kernel + b: x (R, D), kernel (D, G·M) -> (R, G·M); b is bias (G·M,), or the first row of bias (2, G·M)."""
    first = bias if bias is None or len(bias.shape) == 1 else bias[0]
    return affine(x, kernel=kernel, bias=first, bias_first=bias_first)


# h·recurrent_kernel + b_r: h (R, M) -> (R, G·M); b_r is the second row of bias (2, G·M), where it has one.
def _from_state(h: X, recurrent_kernel: Any, bias: Any, *, bias_first: bool) -> X:
    second = None if bias is None or len(bias.shape) == 1 else bias[1]
    return affine(h, kernel=recurrent_kernel, bias=second, bias_first=bias_first)


def simple_rnn_gates(
    projected: X, h: X, *, recurrent_kernel: Any, bias: Any = None, activation: Activation, bias_first: bool = False
) -> Gates:
    """a_t = activation(x_t·kernel + bias + h_{t-1}·recurrent_kernel).

    projected (R, M) is x_t·kernel + bias, h (R, M), recurrent_kernel (M, M) -> (R, M). With bias (2, M), as PyTorch
    has it, the second row is added to h_{t-1}·recurrent_kernel.

    Source: Elman, Finding Structure in Time, Cognitive Science 14 (1990); Keras 3.15, SimpleRNNCell.call; PyTorch
    2.13, torch.nn.RNN.
    """
    return (activate(activation, projected + _from_state(h, recurrent_kernel, bias, bias_first=bias_first)),)


def simple_rnn_output(gates: Gates, h: X) -> X:  # noqa: ARG001 - the h before counts in a GRU
    """h_t = a_t."""
    (a,) = gates
    return a


register(
    "SimpleRNN", states=("h",), activations=("h",),
    project=project, gates=simple_rnn_gates, output=simple_rnn_output,
)  # fmt: skip


def lstm_gates(
    projected: X, h: X, *, recurrent_kernel: Any, bias: Any = None,
    activation: Activation, recurrent_activation: Activation, bias_first: bool = False,
) -> Gates:  # fmt: skip
    """f_t, i_t, o_t = recurrent_activation(x_t·W + b + h_{t-1}·U), g_t = activation(x_t·W_c + b_c + h_{t-1}·U_c).

    c_t = f_t*c_{t-1} + i_t*g_t.

    projected (R, 4M) is x_t·kernel + bias, h (R, M), recurrent_kernel (M, 4M), blocks i f c o -> f_t, i_t*g_t and
    o_t, each (R, M). With bias (2, 4M), as PyTorch has it, the second row is added to h_{t-1}·U.

    Source: Hochreiter and Schmidhuber, Long Short-Term Memory, Neural Computation 9 (1997); Gers, Schmidhuber and
    Cummins (2000) for f; Keras 3.15, LSTMCell.call; PyTorch 2.13, torch.nn.LSTM.
    """
    return _lstm_activations(
        projected + _from_state(h, recurrent_kernel, bias, bias_first=bias_first), activation, recurrent_activation
    )


def _lstm_activations(z: X, activation: Activation, recurrent_activation: Activation) -> Gates:
    z_i, z_f, z_c, z_o = split(z, LSTM_GATES)
    i, f, o = (activate(recurrent_activation, z) for z in (z_i, z_f, z_o))
    return f, i * activate(activation, z_c), o


def lstm_output(gates: Gates, c: X, *, activation: Activation) -> X:
    """h_t = o_t*activation(c_t)."""
    *_, o = gates
    return o * activate(activation, c)


_OF_LSTM = ("i", "f", "o", "g", "activation(c)")
register(
    "LSTM", states=("h", "c"), activations=_OF_LSTM,
    project=project, gates=lstm_gates, output=lstm_output,
)  # fmt: skip


def gru_gates(
    projected: X, h: X, *, recurrent_kernel: Any, bias: Any = None,
    activation: Activation, recurrent_activation: Activation, reset_after: bool, bias_first: bool = False,
) -> Gates:  # fmt: skip
    """z_t, r_t = recurrent_activation(x_t·W + b + h_{t-1}·U), g_t = activation(x_t·W_h + b_h + s_t).

    With reset_after, s_t = r_t*(h_{t-1}·U_h + b_rh), with a second bias b_r in z_t and r_t too; without,
    s_t = (r_t*h_{t-1})·U_h.

    projected (R, 3M) is x_t·kernel + bias, h (R, M), recurrent_kernel (M, 3M), blocks z r h -> z_t and g_t (R, M).

    Source: Cho et al., Learning Phrase Representations, arXiv 1406.1078, version 3 without reset_after, version 1
    with; Keras 3.15, GRUCell.call.
    """
    m = h.shape[-1]
    # Without reset_after, U_h waits for r, and its product is one of its own.
    x_zr, x_h = projected[..., : 2 * m], projected[..., 2 * m :]
    if reset_after:
        inner = _from_state(h, recurrent_kernel, bias, bias_first=bias_first)
        z, r = (activate(recurrent_activation, a) for a in split(x_zr + inner[..., : 2 * m], GRU_GATES[:2]))
        s = r * inner[..., 2 * m :]
    else:
        inner_zr = h @ recurrent_kernel[:, : 2 * m]
        z, r = (activate(recurrent_activation, a) for a in split(x_zr + inner_zr, GRU_GATES[:2]))
        s = (r * h) @ recurrent_kernel[:, 2 * m :]
    return z, activate(activation, x_h + s)


def gru_output(gates: Gates, h: X) -> X:
    """h_t = z_t*h_{t-1} + (1 - z_t)*g_t."""
    z, g = gates
    return z * h + (1.0 - z) * g


register(
    "GRU", states=("h",), activations=("z", "r", "g"),
    project=project, gates=gru_gates, output=gru_output,
)  # fmt: skip


def conv_lstm_project(
    x: X, *, kernel: Any, bias: Any = None, kernel_size: Sizes, strides: Sizes, padding: str, dilation_rate: Sizes
) -> X:
    """x_t∗kernel + bias: x (R, ..., D) -> (R, ...', 4M), over one, two or three axes of space."""
    product = convolve(x, kernel, kernel_size, strides, padding, dilation_rate)
    return product if bias is None else product + bias


def conv_lstm_gates(
    projected: X, h: X, *, recurrent_kernel: Any, kernel_size: Sizes,
    activation: Activation, recurrent_activation: Activation,
) -> Gates:  # fmt: skip
    """The gates of LSTM, with convolutions ∗ for products: i_t = recurrent_activation(x_t∗W_i + b_i + h_{t-1}∗U_i).

    c_t = f_t*c_{t-1} + i_t*g_t.

    projected (R, ...', 4M), h (R, ...', M); the convolution of h has strides 1 and padding "same".

    Source: Shi et al., Convolutional LSTM Network, NIPS 2015, without the peepholes; Keras 3.15, ConvLSTMCell.call.
    """
    inner = convolve(h, recurrent_kernel, kernel_size, padding="same")
    return _lstm_activations(projected + inner, activation, recurrent_activation)


register(
    "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", states=("h", "c"), activations=_OF_LSTM,
    project=conv_lstm_project, gates=conv_lstm_gates, output=lstm_output,
)  # fmt: skip
