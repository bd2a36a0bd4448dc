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
from rnncheck.equations.operands import Options, Sizes, Weights, X, keywords, piecewise
from rnncheck.equations.windows import convolve
from rnncheck.network import Activation, Array, Layer, Network

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
PEEPHOLES = ("i", "f", "o")


@dataclass(frozen=True)
class Cell:
    """One step of a recurrent layer, in the four parts that a check needs apart."""

    states: tuple[str, ...]  # their names: h, which is also the output, then the memory c where there is one
    # (x (R, D), weights, options) -> the share of the step that depends on the input alone
    project: Callable[[X, Weights, Options], X]
    # (projected, h, weights, options) -> what is computed from the input and the previous h
    gates: Callable[[X, X, Weights, Options], Gates]
    # (gates, h or the new c, weights, options) -> the new h
    output: Callable[[Gates, X, Weights, Options], X]
    activations: tuple[str, ...]  # what each of them gives, in the order in which they are computed
    # (gates, c, weights, options) -> the gates, where they see the c before the step; None where they do not
    peek: Callable[[Gates, X, Weights, Options], Gates] | None = None
    loop: Loop = Loop()  # what is done around the step
    unit: float | None = None  # the unit roundoff of its products; None for that of the layer's precision

    @property
    def remembers(self) -> bool:
        """Whether it has a memory c_t = gates[0]*c_{t-1} + gates[1]."""
        return len(self.states) > 1

    def step(self, projected: X, states: tuple[X, ...], weights: Weights, options: Options) -> tuple[X, ...]:
        """Return the new states, in the order of `states`."""
        gates = self.gates(projected, states[0], weights, options)
        if not self.remembers:
            return (self.output(gates, states[0], weights, options),)
        if self.peek:
            gates = self.peek(gates, states[1], weights, options)
        c = gates[0] * states[1] + gates[1]
        return self.output(gates, c, weights, options), c

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
        names = [name for name in self.activations if name != "f" or not options.get("input_forget")]
        return dict(zip(names, seen, strict=True)), after


# By Keras' class name.
CELLS: dict[str, Cell] = {}


def register(
    *kinds: str,
    states: tuple[str, ...],
    activations: tuple[str, ...],
    project: Part,
    gates: Part,
    output: Part,
    peek: Part | None = None,
) -> None:
    """Register the step of some kinds of recurrent layers; see `Cell` for the arrays that its parts take."""
    parts = (_part(project, 1), _part(gates, 2), _part(output, 2))
    cell = Cell(states, *parts, activations, None if peek is None else _part(peek, 2))
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
    """Return M of a recurrent layer, the size of h: recurrent_kernel is (..., M, gates·M)."""
    return int(layer.weights["recurrent_kernel"].shape[-2])


def gate_names(layer: Layer) -> tuple[str, ...]:
    """Return the names of the gates, in the order of their blocks."""
    if cell_of(layer).remembers:
        return LSTM_GATES
    return GRU_GATES if layer.weights["recurrent_kernel"].shape[-1] > units(layer) else ("h",)


def gate_width(layer: Layer) -> int:
    """Return the number of columns of each gate's block: M, of a layer with a projection that before it."""
    return int(layer.weights["recurrent_kernel"].shape[-1]) // len(gate_names(layer))


def weights_of_gates(layer: Layer) -> dict[str, Array]:
    """Return the weights whose columns are blocks of gates."""
    return {name: weight for name, weight in layer.weights.items() if name in {"kernel", "recurrent_kernel", "bias"}}


def sizes(layer: Layer) -> tuple[int, ...]:
    """Return the size of each state: that of c differs from that of h in a layer with a projection."""
    return (units(layer), gate_width(layer))[: len(cell_of(layer).states)]


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


def _clipped(z: X, clip: float | None) -> X:
    # What ONNX does before each activation of a gate.
    return z if clip is None else piecewise(z, -clip, -clip, piecewise(z, clip, z, clip))


def simple_rnn_gates(
    projected: X, h: X, *, recurrent_kernel: Any, bias: Any = None,
    activation: Activation, bias_first: bool = False, clip: float | None = None,
) -> Gates:  # fmt: skip
    """a_t = activation(x_t·kernel + bias + h_{t-1}·recurrent_kernel).

    projected (R, M) is x_t·kernel + bias, h (R, M), recurrent_kernel (M, M) -> (R, M). With bias (2, M), as PyTorch
    and ONNX have it, the second row is added to h_{t-1}·recurrent_kernel. With clip, as ONNX has it, what goes into
    the activation is limited to [-clip, clip].

    Source: Elman, Finding Structure in Time, Cognitive Science 14 (1990); Keras 3.15, SimpleRNNCell.call; PyTorch
    2.13, torch.nn.RNN; ONNX, operator RNN-22.
    """
    z = projected + _from_state(h, recurrent_kernel, bias, bias_first=bias_first)
    return (activate(activation, _clipped(z, clip)),)


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
    clip: float | None = None, input_forget: bool = False,
) -> Gates:  # fmt: skip
    """f_t, i_t, o_t = recurrent_activation(x_t·W + b + h_{t-1}·U), g_t = activation(x_t·W_c + b_c + h_{t-1}·U_c).

    c_t = f_t*c_{t-1} + i_t*g_t.

    projected (R, 4M) is x_t·kernel + bias, h (R, M), recurrent_kernel (M, 4M), blocks i f c o -> f_t, i_t*g_t and
    o_t, each (R, M). With bias (2, 4M), as PyTorch and ONNX have it, the second row is added to h_{t-1}·U. ONNX may
    limit what goes into the activations to [-clip, clip], and take 1 - i_t for f_t with input_forget.

    Source: Hochreiter and Schmidhuber, Long Short-Term Memory, Neural Computation 9 (1997); Gers, Schmidhuber and
    Cummins (2000) for f; Keras 3.15, LSTMCell.call; PyTorch 2.13, torch.nn.LSTM; ONNX, operator LSTM-22.
    """
    z = _clipped(projected + _from_state(h, recurrent_kernel, bias, bias_first=bias_first), clip)
    return _lstm_activations(z, activation, recurrent_activation, input_forget=input_forget)


def _lstm_activations(
    z: X, activation: Activation, recurrent_activation: Activation, *, input_forget: bool = False
) -> Gates:
    z_i, z_f, z_c, z_o = split(z, LSTM_GATES)
    i = activate(recurrent_activation, z_i)
    f = 1.0 - i if input_forget else activate(recurrent_activation, z_f)
    o = activate(recurrent_activation, z_o)
    return f, i * activate(activation, z_c), o


def lstm_output(gates: Gates, c: X, *, activation: Activation, output_activation: Activation | None = None) -> X:
    """h_t = o_t*activation(c_t)."""
    *_, o = gates  # ONNX may have another activation here than in g_t
    return o * activate(output_activation or activation, c)


_OF_LSTM = ("i", "f", "o", "g", "activation(c)")
register(
    "LSTM", states=("h", "c"), activations=_OF_LSTM,
    project=project, gates=lstm_gates, output=lstm_output,
)  # fmt: skip


def projected_output(gates: Gates, c: X, *, projection: Any, activation: Activation) -> X:
    """h_t = (o_t*activation(c_t))·projection: c (R, M), projection (M, P) -> (R, P).

    The gates are those of LSTM, with h (R, P) and recurrent_kernel (P, 4M).

    Source: Sak, Senior and Beaufays, Long Short-Term Memory Based Recurrent Neural Network Architectures, arXiv
    1402.1128; PyTorch 2.13, torch.nn.LSTM with proj_size.
    """
    return affine(lstm_output(gates, c, activation=activation), kernel=projection)


register(
    "ProjectedLSTM", states=("h", "c"), activations=_OF_LSTM,
    project=project, gates=lstm_gates, output=projected_output,
)  # fmt: skip


def peephole_gates(projected: X, h: X, *, recurrent_kernel: Any, bias: Any = None, bias_first: bool = False) -> Gates:
    """z_i, z_f, z_c, z_o = x_t·W + b + h_{t-1}·U.

    projected (R, 4M), h (R, M), recurrent_kernel (M, 4M), blocks i f c o -> four blocks (R, M).
    """
    return split(projected + _from_state(h, recurrent_kernel, bias, bias_first=bias_first), LSTM_GATES)


def peephole_peek(
    gates: Gates, c: X, *, peephole: Any, activation: Activation, recurrent_activation: Activation,
    clip: float | None = None, input_forget: bool = False,
) -> Gates:  # fmt: skip
    """i_t, f_t = recurrent_activation(z + p*c_{t-1}), g_t = activation(z_c).

    c_t = f_t*c_{t-1} + i_t*g_t.

    projected (R, 4M) as four blocks -> f_t, i_t*g_t and z_o. peephole (3M,) has the blocks p_i, p_f, p_o. Clip and
    input_forget are those of LSTM.

    Source: Gers and Schmidhuber, Recurrent Nets that Time and Count, IJCNN 2000; ONNX, operator LSTM-22.
    """
    z_i, z_f, z_c, z_o = gates
    p_i, p_f, _ = split(peephole, PEEPHOLES)
    i = activate(recurrent_activation, _clipped(z_i + c * p_i, clip))
    f = 1.0 - i if input_forget else activate(recurrent_activation, _clipped(z_f + c * p_f, clip))
    return f, i * activate(activation, _clipped(z_c, clip)), z_o


def peephole_output(
    gates: Gates, c: X, *, peephole: Any, activation: Activation, recurrent_activation: Activation,
    output_activation: Activation | None = None, clip: float | None = None,
) -> X:  # fmt: skip
    """o_t = recurrent_activation(z_o + p_o*c_t), h_t = o_t*activation(c_t)."""
    *_, z_o = gates
    *_, p_o = split(peephole, PEEPHOLES)
    o = activate(recurrent_activation, _clipped(z_o + c * p_o, clip))
    return lstm_output((o,), c, activation=activation, output_activation=output_activation)


register(
    "PeepholeLSTM", states=("h", "c"), activations=("i", "f", "g", "o", "activation(c)"),
    project=project, gates=peephole_gates, output=peephole_output, peek=peephole_peek,
)  # fmt: skip


def gru_gates(
    projected: X, h: X, *, recurrent_kernel: Any, bias: Any = None,
    activation: Activation, recurrent_activation: Activation, reset_after: bool, bias_first: bool = False,
    clip: float | None = None,
) -> Gates:  # fmt: skip
    """z_t, r_t = recurrent_activation(x_t·W + b + h_{t-1}·U), g_t = activation(x_t·W_h + b_h + s_t).

    With reset_after, s_t = r_t*(h_{t-1}·U_h + b_rh), with a second bias b_r in z_t and r_t too; without,
    s_t = (r_t*h_{t-1})·U_h.

    projected (R, 3M) is x_t·kernel + bias, h (R, M), recurrent_kernel (M, 3M), blocks z r h -> z_t and g_t (R, M).
    ONNX has the second bias without reset_after as well, and may limit what goes into the activations to
    [-clip, clip].

    Source: Cho et al., Learning Phrase Representations, arXiv 1406.1078, version 3 without reset_after, version 1
    with; Keras 3.15, GRUCell.call; ONNX, operator GRU-22.
    """
    m = h.shape[-1]
    x_zr, x_h = projected[..., : 2 * m], projected[..., 2 * m :]

    def inner(h: X, gates: slice) -> X:
        own = None if bias is None or len(bias.shape) == 1 else bias[:, gates]
        return _from_state(h, recurrent_kernel[:, gates], own, bias_first=bias_first)

    # Without reset_after, U_h waits for r, and its product is one of its own.
    zr = slice(None) if reset_after else slice(2 * m)
    of_h = inner(h, zr)
    z, r = (
        activate(recurrent_activation, _clipped(a, clip)) for a in split(x_zr + of_h[..., : 2 * m], GRU_GATES[:2])
    )
    s = r * of_h[..., 2 * m :] if reset_after else inner(r * h, slice(2 * m, None))
    return z, activate(activation, _clipped(x_h + s, clip))


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
