"""The equations of the recurrent layers, in textbook form, each written once.

Every function runs on plain float64 arrays, which gives the replay, and on `Rounded`, which gives bound and
noise as well. R is any number of rows: N at one step of the replay, or all N·T steps at once in the step check.

A recurrent layer is a `Cell`: four functions, from the input to the new states. To add one, write them and enter
them in `CELLS`. The layers without states are in `rnncheck.equations.layers`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rnncheck.equations.activations import activate
from rnncheck.equations.layers import affine
from rnncheck.equations.operands import Options, Weights, X
from rnncheck.equations.windows import convolve
from rnncheck.network import Layer, Network

Gates = tuple[X, ...]


@dataclass(frozen=True)
class Loop:
    """What a recurrent layer does around its step; a fault gets one of it wrong.

    Attributes:
        passed: (a state before a step that does not count, what the step would make of it) -> the state after it,
            which nobody sees; None for the state before.
        repeats_first: whether such a step puts out what the first step did, in place of the step before.
        returned: which step's output is the layer's, without return_sequences.
    """

    passed: Callable[[X, X], X] | None = None
    repeats_first: bool = False
    returned: int = -1


# The order of the gates' blocks in Keras' kernels and biases.
LSTM_GATES = ("i", "f", "c", "o")


GRU_GATES = ("z", "r", "h")


@dataclass(frozen=True)
class Cell:
    """One step of a recurrent layer, in the four parts that a check needs apart.

    Attributes:
        states: the names of the states: h, which is also the output, then the memory c where there is one.
        project: (x (R, D), weights, options) -> the share of the step that depends on the input alone.
        gates: (projected, h, weights, options) -> what is computed from the input and the h before.
        memory: (gates, c) -> the new c, which is gates[0]*c + gates[1], so that it can be run over many
            steps at once. None without a memory.
        output: (gates, h or the new c, options) -> the new h.
        loop: what is done around the step.
        unit: the unit roundoff of its products, where it is not that of the layer's precision.
    """

    states: tuple[str, ...]
    project: Callable[[X, Weights, Options], X]
    gates: Callable[[X, X, Weights, Options], Gates]
    output: Callable[[Gates, X, Options], X]
    memory: Callable[[Gates, X], X] | None = None
    loop: Loop = Loop()
    unit: float | None = None

    def step(self, projected: X, states: tuple[X, ...], weights: Weights, options: Options) -> tuple[X, ...]:
        """Return the new states, in the order of `states`."""
        gates = self.gates(projected, states[0], weights, options)
        if self.memory is None:
            return (self.output(gates, states[0], options),)
        c = self.memory(gates, states[1])
        return self.output(gates, c, options), c


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


def project(x: X, weights: Weights, options: Options) -> X:
    """x·kernel + bias: x (R, D), kernel (D, G·M), bias (G·M,) -> (R, G·M)."""
    del options
    return affine(x, weights)


# --- SimpleRNN ---


def simple_rnn_gates(projected: X, h: X, weights: Weights, options: Options) -> Gates:
    """a_t = activation(x_t·kernel + bias + h_{t-1}·recurrent_kernel).

    projected (R, M) is x_t·kernel + bias, h (R, M), recurrent_kernel (M, M) -> (R, M).

    Source: Elman, Finding Structure in Time, Cognitive Science 14 (1990); Keras 3.15, SimpleRNNCell.call.
    """
    return (activate(options["activation"], projected + h @ weights["recurrent_kernel"]),)


def simple_rnn_output(gates: Gates, h: X, options: Options) -> X:
    """h_t = a_t."""
    del h, options
    (a,) = gates
    return a


# --- LSTM ---


def lstm_gates(projected: X, h: X, weights: Weights, options: Options) -> Gates:
    """f_t, i_t, o_t = recurrent_activation(x_t·W + b + h_{t-1}·U), g_t = activation(x_t·W_c + b_c + h_{t-1}·U_c).

    projected (R, 4M) is x_t·kernel + bias, h (R, M), recurrent_kernel (M, 4M), blocks i f c o -> f_t, i_t*g_t and
    o_t, each (R, M).

    Source: Hochreiter and Schmidhuber, Long Short-Term Memory, Neural Computation 9 (1997); Gers, Schmidhuber and
    Cummins (2000) for f; Keras 3.15, LSTMCell.call.
    """
    return _lstm_activations(projected + h @ weights["recurrent_kernel"], options)


def _lstm_activations(z: X, options: Options) -> Gates:
    z_i, z_f, z_c, z_o = split(z, LSTM_GATES)
    i = activate(options["recurrent_activation"], z_i)
    f = activate(options["recurrent_activation"], z_f)
    g = activate(options["activation"], z_c)
    o = activate(options["recurrent_activation"], z_o)
    return f, i * g, o


def lstm_memory(gates: Gates, c: X) -> X:
    """c_t = f_t*c_{t-1} + i_t*g_t."""
    f, i_times_g, _ = gates
    return f * c + i_times_g


def lstm_output(gates: Gates, c: X, options: Options) -> X:
    """h_t = o_t*activation(c_t)."""
    *_, o = gates
    return o * activate(options["activation"], c)


# --- GRU ---


def gru_project(x: X, weights: Weights, options: Options) -> X:
    """x·kernel + bias, with the first of the two rows of bias where reset_after has two: -> (R, 3M)."""
    if "bias" in weights and options["reset_after"]:
        return x @ weights["kernel"] + weights["bias"][0]
    return affine(x, weights)


def gru_gates(projected: X, h: X, weights: Weights, options: Options) -> Gates:
    """z_t, r_t = recurrent_activation(x_t·W + b + h_{t-1}·U), g_t = activation(x_t·W_h + b_h + s_t).

    With reset_after, s_t = r_t*(h_{t-1}·U_h + b_rh), with a second bias b_r in z_t and r_t too; without,
    s_t = (r_t*h_{t-1})·U_h.

    projected (R, 3M) is x_t·kernel + bias, h (R, M), recurrent_kernel (M, 3M), blocks z r h -> z_t and g_t (R, M).

    Source: Cho et al., Learning Phrase Representations, arXiv 1406.1078, version 3 without reset_after, version 1
    with; Keras 3.15, GRUCell.call.
    """
    m = h.shape[-1]
    kernel = weights["recurrent_kernel"]
    x_h = projected[..., 2 * m :]
    if options["reset_after"]:
        inner = h @ kernel
        if "bias" in weights:
            inner = inner + weights["bias"][1]
        z, r = _update_and_reset(projected[..., : 2 * m] + inner[..., : 2 * m], options)
        return z, activate(options["activation"], x_h + r * inner[..., 2 * m :])
    z, r = _update_and_reset(projected[..., : 2 * m] + h @ kernel[:, : 2 * m], options)
    return z, activate(options["activation"], x_h + (r * h) @ kernel[:, 2 * m :])


def _update_and_reset(pre_activations: X, options: Options) -> Gates:
    z, r = split(pre_activations, GRU_GATES[:2])
    return activate(options["recurrent_activation"], z), activate(options["recurrent_activation"], r)


def gru_output(gates: Gates, h: X, options: Options) -> X:
    """h_t = z_t*h_{t-1} + (1 - z_t)*g_t."""
    del options
    z, g = gates
    return z * h + (1.0 - z) * g


# --- ConvLSTM ---


def conv_lstm_project(x: X, weights: Weights, options: Options) -> X:
    """x_t∗kernel + bias: x (R, ..., D) -> (R, ...', 4M), over one, two or three axes of space."""
    product = convolve(
        x,
        weights["kernel"],
        options["kernel_size"],
        strides=options["strides"],
        padding=options["padding"],
        dilation_rate=options["dilation_rate"],
    )
    return product + weights["bias"] if "bias" in weights else product


def conv_lstm_gates(projected: X, h: X, weights: Weights, options: Options) -> Gates:
    """The gates of LSTM, with convolutions ∗ for products: i_t = recurrent_activation(x_t∗W_i + b_i + h_{t-1}∗U_i).

    projected (R, ...', 4M), h (R, ...', M); the convolution of h has strides 1 and padding "same".

    Source: Shi et al., Convolutional LSTM Network, NIPS 2015, without the peepholes; Keras 3.15, ConvLSTMCell.call.
    """
    inner = convolve(h, weights["recurrent_kernel"], options["kernel_size"], padding="same")
    return _lstm_activations(projected + inner, options)


_CONV_LSTM = Cell(("h", "c"), conv_lstm_project, conv_lstm_gates, lstm_output, lstm_memory)


CELLS: Mapping[str, Cell] = {
    "SimpleRNN": Cell(("h",), project, simple_rnn_gates, simple_rnn_output),
    "LSTM": Cell(("h", "c"), project, lstm_gates, lstm_output, lstm_memory),
    "GRU": Cell(("h",), gru_project, gru_gates, gru_output),
    "ConvLSTM1D": _CONV_LSTM,
    "ConvLSTM2D": _CONV_LSTM,
    "ConvLSTM3D": _CONV_LSTM,
}


def cell_of(layer: Layer) -> Cell:
    """Return the equations of a recurrent layer: its own, or those of its kind."""
    return layer.equations or CELLS[layer.kind]
