"""A second reference, independent of the package: scalars, loops and the math module, formula by formula.

Everything here is plain Python: a sequence is a list over n of lists over t of lists over units, sums are exactly
rounded (`math.fsum`). At the end, `make_network` makes by hand the networks that the tests replay.
"""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from rnncheck.network import Activation, InputSpec, Layer, Network, Tensor

# --- rounding to a number format, from its definition ---

# significant binary digits p, and the exponent of the smallest normal number
FORMATS = {"float64": (53, -1022), "float32": (24, -126), "float16": (11, -14), "bfloat16": (8, -126)}


def rounded(number, dtype):
    """The number nearest in a format, ties to even; the numbers here are far from overflow."""
    digits, smallest = FORMATS[dtype]
    if number == 0.0 or not math.isfinite(number):
        return number
    exponent = max(math.frexp(number)[1], smallest + 1)  # number = fraction·2^exponent, 1/2 <= |fraction| < 1
    return math.ldexp(round(math.ldexp(number, digits - exponent)), exponent - digits)


def rounded_all(nested, dtype):
    if isinstance(nested, list):
        return [rounded_all(item, dtype) for item in nested]
    return rounded(nested, dtype)


# --- activations, of the list of all units ---


def _each(function):
    return lambda units: [function(x) for x in units]


def _softmax(units):
    powers = [math.exp(x - max(units)) for x in units]
    return [power / math.fsum(powers) for power in powers]


ACTIVATIONS = {
    "linear": _each(lambda x: x),
    "tanh": _each(math.tanh),
    "relu": _each(lambda x: max(x, 0.0)),
    "relu6": _each(lambda x: min(max(x, 0.0), 6.0)),
    "leaky_relu": _each(lambda x: x if x > 0.0 else 0.2 * x),
    "sigmoid": _each(lambda x: 1.0 / (1.0 + math.exp(-x))),
    "hard_sigmoid": _each(lambda x: min(max(x + 3.0, 0.0), 6.0) / 6.0),
    "hard_tanh": _each(lambda x: min(max(x, -1.0), 1.0)),
    "softplus": _each(lambda x: math.log1p(math.exp(x))),
    "softsign": _each(lambda x: x / (1.0 + abs(x))),
    "elu": _each(lambda x: x if x > 0.0 else math.expm1(x)),
    "silu": _each(lambda x: x / (1.0 + math.exp(-x))),
    "gelu": _each(lambda x: 0.5 * x * (1.0 + math.erf(x / math.sqrt(2.0)))),
    "softmax": _softmax,
}


# --- layers without states ---


def _products(x, kernel, column):
    return [value * row[column] for value, row in zip(x, kernel, strict=True)]


def dense_units(x, kernel, bias, activation):
    """activation(Σ_i x_i·kernel_ij + bias_j) of one row."""
    biases = bias or [0.0] * len(kernel[0])
    return ACTIVATIONS[activation]([math.fsum([*_products(x, kernel, j), b]) for j, b in enumerate(biases)])


def dense(x, kernel, bias, activation):
    """Dense over rows (N, D), sequences (N, T, D), or with more axes before the last."""
    if isinstance(x[0], list):
        return [dense(inner, kernel, bias, activation) for inner in x]
    return dense_units(x, kernel, bias, activation)


def flatten(x):
    """(N, T, M) -> (N, T·M), with any number of axes after the first."""
    return [_flat(sample) for sample in x]


def _flat(nested):
    return [value for item in nested for value in _flat(item)] if isinstance(nested, list) else [nested]


def embedding(ids, table):
    """The rows of the table (ids, units): ids (N, T) -> (N, T, units)."""
    return [[table[int(number)] for number in sample] for sample in ids]


# --- recurrent cells: one step of one sample, whose states are lists over the units, the output h first ---


class Cell(NamedTuple):
    """step(x, states) -> (output, new states); the states to start from when none are given; an output of zeros."""

    step: Callable
    zero_states: tuple
    zero_output: list


def _sums(x, h, weights):
    """Σ_i x_i·kernel_ij + Σ_i h_i·recurrent_kernel_ij + bias_j for every j, or with both rows of a bias of two."""
    bias = weights.get("bias", [])
    rows = bias if bias and isinstance(bias[0], list) else [bias] if bias else []
    return [
        math.fsum(
            [
                *_products(x, weights["kernel"], j),
                *_products(h, weights["recurrent_kernel"], j),
                *(row[j] for row in rows),
            ]
        )
        for j in range(len(weights["kernel"][0]))
    ]


def simple_rnn_step(x, states, weights, activation):
    """h_t = activation of the sums."""
    (h,) = states
    return (ACTIVATIONS[activation](_sums(x, h, weights)),)


def lstm_units(sums, c, activation, recurrent_activation):
    """From the 4M sums of the gates i, f, c, o: c_t = f·c_{t-1} + i·activation(.), h_t = o·activation(c_t)."""
    M = len(c)
    i = ACTIVATIONS[recurrent_activation](sums[:M])
    f = ACTIVATIONS[recurrent_activation](sums[M : 2 * M])
    candidate = ACTIVATIONS[activation](sums[2 * M : 3 * M])
    o = ACTIVATIONS[recurrent_activation](sums[3 * M :])
    c = [f[j] * c[j] + i[j] * candidate[j] for j in range(M)]
    squashed = ACTIVATIONS[activation](c)
    return [o[j] * squashed[j] for j in range(M)], c


def lstm_step(x, states, weights, activation, recurrent_activation):
    """The sums are those of the gates i, f, c, o."""
    h, c = states
    return lstm_units(_sums(x, h, weights), c, activation, recurrent_activation)


def gru_step(x, states, weights, activation, recurrent_activation, *, reset_after):
    """h_t = z·h_{t-1} + (1 - z)·activation(.), where r acts on h·recurrent_kernel (reset_after) or on h itself."""
    (h,) = states
    M = len(h)
    zeros = [0.0] * (3 * M)
    bias = weights.get("bias")
    if bias is None:
        input_bias, recurrent_bias = zeros, zeros
    elif reset_after:
        input_bias, recurrent_bias = bias
    else:
        input_bias, recurrent_bias = bias, zeros

    def from_input(j):
        return math.fsum([*_products(x, weights["kernel"], j), input_bias[j]])

    def from_state(state, j):
        return math.fsum([*_products(state, weights["recurrent_kernel"], j), recurrent_bias[j]])

    z = ACTIVATIONS[recurrent_activation]([from_input(j) + from_state(h, j) for j in range(M)])
    r = ACTIVATIONS[recurrent_activation]([from_input(j) + from_state(h, j) for j in range(M, 2 * M)])
    if reset_after:
        sums = [from_input(2 * M + j) + r[j] * from_state(h, 2 * M + j) for j in range(M)]
    else:
        reset = [r[j] * h[j] for j in range(M)]
        sums = [from_input(2 * M + j) + from_state(reset, 2 * M + j) for j in range(M)]
    candidate = ACTIVATIONS[activation](sums)
    return ([z[j] * h[j] + (1.0 - z[j]) * candidate[j] for j in range(M)],)


# --- convolution over any number of spatial axes: an image is a dict from positions to channels ---


def by_position(nested, rank):
    """{(p, q, ...): what is there} of `rank` nested lists."""
    if rank == 0:
        return {(): nested}
    return {(p, *rest): leaf for p, row in enumerate(nested) for rest, leaf in by_position(row, rank - 1).items()}


def as_nested(image, sizes, position=()):
    """The lists again, one level for each of the sizes."""
    if len(position) == len(sizes):
        return image[position]
    return [as_nested(image, sizes, (*position, p)) for p in range(sizes[len(position)])]


def convolved_size(size, width, stride, dilation, padding):
    """How many positions one spatial axis has behind the convolution, and how many are padded before the first.

    same: ceil(size / stride) positions; what the kernel needs beyond the image is padded, the odd one at the end.
    """
    span = (width - 1) * dilation + 1
    if padding == "valid":
        return (size - span) // stride + 1, 0
    positions = math.ceil(size / stride)
    return positions, max((positions - 1) * stride + span - size, 0) // 2


def convolution(image, kernel, bias, axes):
    """Σ_offset Σ_channel image[p·stride + offset·dilation - before][channel]·kernel[offset][channel][k] + bias[k].

    `axes` has for each spatial axis (positions, before, stride, dilation).
    """
    result = {}
    for target in itertools.product(*[range(positions) for positions, *_ in axes]):
        terms = [[b] for b in bias]
        for offset, matrix in kernel.items():
            source = tuple(
                p * stride + o * dilation - before
                for p, o, (_, before, stride, dilation) in zip(target, offset, axes, strict=True)
            )
            if source in image:
                for j, column in enumerate(terms):
                    column.extend(_products(image[source], matrix, j))
        result[target] = [math.fsum(column) for column in terms]
    return result


def conv_lstm_step(x, states, weights, activation, recurrent_activation, axes):
    """The LSTM at every position, its sums convolutions: of x as the options say, of h with stride 1 and same."""
    rank = len(axes)
    image, h, c = by_position(x, rank), by_position(states[0], rank), by_position(states[1], rank)
    kernel, recurrent_kernel = by_position(weights["kernel"], rank), by_position(weights["recurrent_kernel"], rank)
    zeros = [0.0] * (4 * len(next(iter(c.values()))))
    widths = [max(offset[axis] for offset in kernel) + 1 for axis in range(rank)]
    sizes = [positions for positions, *_ in axes]
    around = [(*convolved_size(size, width, 1, 1, "same"), 1, 1) for size, width in zip(sizes, widths, strict=True)]
    from_input = convolution(image, kernel, weights.get("bias") or zeros, axes)
    from_state = convolution(h, recurrent_kernel, zeros, around)
    new_h, new_c = {}, {}
    for p, sums in from_input.items():
        both = [a + b for a, b in zip(sums, from_state[p], strict=True)]
        new_h[p], new_c[p] = lstm_units(both, c[p], activation, recurrent_activation)
    return as_nested(new_h, sizes), as_nested(new_c, sizes)


# --- recurrent layers over time ---


def make_cell(layer, sizes=()):
    """The cell of a layer; a ConvLSTM must know the sizes of its images."""
    weights, options = _weights(layer), layer.options
    names = {name: options[name].name for name in ("activation", "recurrent_activation") if name in options}
    if layer.kind.startswith("ConvLSTM"):
        settings = zip(options["kernel_size"], options["strides"], options["dilation_rate"], strict=True)
        axes = [
            (*convolved_size(size, width, stride, dilation, options["padding"]), stride, dilation)
            for size, (width, stride, dilation) in zip(sizes, settings, strict=True)
        ]
        zeros = np.zeros([*(positions for positions, *_ in axes), options["filters"]]).tolist()
        step, states = partial(conv_lstm_step, weights=weights, axes=axes, **names), (zeros, zeros)
    else:
        zeros = [0.0] * options["units"]
        if layer.kind == "GRU":
            step = partial(gru_step, weights=weights, reset_after=options["reset_after"], **names)
        else:
            step = partial({"SimpleRNN": simple_rnn_step, "LSTM": lstm_step}[layer.kind], weights=weights, **names)
        states = (zeros, zeros) if layer.kind == "LSTM" else (zeros,)

    def step_with_output(x, states):
        after = step(x, states)
        return after[0], after

    return Cell(step_with_output, states, zeros)


def stack_cells(cells):
    """One cell out of several, each reading the output of the one below at the same step; states lowest first."""

    def step(x, states):
        remaining, after = list(states), []
        for cell in cells:
            own, remaining = remaining[: len(cell.zero_states)], remaining[len(cell.zero_states) :]
            x, new = cell.step(x, tuple(own))
            after += new
        return x, tuple(after)

    return Cell(step, tuple(state for cell in cells for state in cell.zero_states), cells[-1].zero_output)


def scan_sample(cell, sequence, states, counts, *, go_backwards, zero_output_for_mask):
    """Run one sample; return the outputs of all steps in the order in which they are taken, and the last states.

    A step that does not count keeps the states and repeats the previous output, which is zero before the first step
    that counts whatever the state is; with zero_output_for_mask it puts out zero.
    """
    order = range(len(sequence))
    output, outputs = cell.zero_output, []
    for t in reversed(order) if go_backwards else order:
        if counts is None or counts[t]:
            output, states = cell.step(sequence[t], states)
        elif zero_output_for_mask:
            output = cell.zero_output
        outputs.append(output)
    return outputs, states


def scan(cell, x, mask=None, initial=None, *, return_sequences, go_backwards=False, zero_output_for_mask=False):
    """Run all samples; return the outputs (N, T, ...) or (N, ...), and the final states, each (N, ...)."""
    outputs, finals = [], []
    for n, sequence in enumerate(x):
        steps, final = scan_sample(
            cell,
            sequence,
            tuple(state[n] for state in initial) if initial else cell.zero_states,
            None if mask is None else mask[n],
            go_backwards=go_backwards,
            zero_output_for_mask=zero_output_for_mask,
        )
        outputs.append(steps if return_sequences else steps[-1])
        finals.append(final)
    return outputs, [list(states) for states in zip(*finals, strict=True)]


_SCANNED = ("return_sequences", "go_backwards", "zero_output_for_mask")


def recurrent(layer, x, mask=None, initial=None):
    """Run a recurrent layer: (outputs, final states), nested lists as `scan` gives them."""
    cell = make_cell(layer, np.shape(x)[2:-1])
    return scan(cell, x, mask, initial, **{name: layer.options[name] for name in _SCANNED})


def stacked(layers, x, mask=None, initial=None, **scanned):
    """Run RNN([cells]), one layer for each cell; `scanned` has the options of `scan`."""
    return scan(stack_cells([make_cell(layer) for layer in layers]), x, mask, initial, **scanned)


def bidirectional(forward, backward, x, mask=None, initial=None, *, merge_mode):
    """Run Bidirectional: (list of outputs, states of the forward layer and then of the backward layer)."""
    half = len(initial) // 2 if initial else 0
    ahead, states = recurrent(forward, x, mask, initial[:half] if initial else None)
    back, back_states = recurrent(backward, x, mask, initial[half:] if initial else None)
    if forward.options["return_sequences"]:
        back = [list(reversed(sample)) for sample in back]
    outputs = [ahead, back] if merge_mode is None else [merge(merge_mode, ahead, back)]
    return outputs, states + back_states


MERGES = {"sum": lambda a, b: a + b, "mul": lambda a, b: a * b, "ave": lambda a, b: (a + b) / 2.0}


def merge(merge_mode, ahead, back):
    """Merge two nested lists of numbers, units on the last axis."""
    if isinstance(ahead[0], list):
        return [merge(merge_mode, a, b) for a, b in zip(ahead, back, strict=True)]
    if merge_mode == "concat":
        return [*ahead, *back]
    return [MERGES[merge_mode](a, b) for a, b in zip(ahead, back, strict=True)]


# --- whole networks ---


def run(network, calls):
    """Run a network of `make_network` over several calls; return the list of outputs of each call."""
    rnn = network.layers[0]
    kept, results = None, []
    for call in calls:
        given = {spec.name: array.tolist() for spec, array in zip(network.inputs, call, strict=True)}
        initial = [rounded_all(given[tensor.layer], rnn.dtype) for tensor in rnn.initial_state] or kept
        head, states = recurrent(rnn, rounded_all(given["inputs"], rnn.dtype), given.get("mask"), initial)
        if rnn.options["stateful"]:
            kept = states
        results.append([_head(network, head), *(states if rnn.options["return_state"] else [])])
    return results


def _head(network, h):
    for layer in network.layers[1:]:
        if layer.kind == "Flatten":
            h = flatten(h)
        else:
            weights = _weights(layer)
            h = dense(h, weights["kernel"], weights.get("bias"), layer.options["activation"].name)
    return h


def _weights(layer):
    return {name: rounded_all(weight.tolist(), layer.dtype) for name, weight in layer.weights.items()}


# --- networks made by hand ---

CELLS = {  # a short name for each kind of cell, with the options that make it
    "simple_rnn": {"kind": "SimpleRNN"},
    "lstm": {"kind": "LSTM"},
    "gru": {"kind": "GRU"},
    "gru_reset_before": {"kind": "GRU", "reset_after": False},
    "conv_lstm_1d": {"kind": "ConvLSTM1D"},
    "conv_lstm_2d": {"kind": "ConvLSTM2D"},
    "conv_lstm_3d": {"kind": "ConvLSTM3D"},
}
GATES = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3, "ConvLSTM1D": 4, "ConvLSTM2D": 4, "ConvLSTM3D": 4}
STATES = {"SimpleRNN": 1, "LSTM": 2, "GRU": 1, "ConvLSTM1D": 2, "ConvLSTM2D": 2, "ConvLSTM3D": 2}
KERNEL_SIZES = {"ConvLSTM1D": (3,), "ConvLSTM2D": (2, 3), "ConvLSTM3D": (2, 3, 1)}
IMAGE_SIZES = {"ConvLSTM1D": (5,), "ConvLSTM2D": (4, 3), "ConvLSTM3D": (3, 4, 2)}
FLAGS = ("return_sequences", "return_state", "go_backwards", "stateful", "zero_output_for_mask")
DOUBLE = {"dtype": "float64", "weight_dtype": "float64"}


def make_recurrent(
    name,
    rng,
    *,
    D,
    M,
    kind="SimpleRNN",
    source="inputs",
    mask=None,
    initial_state=(),
    dtype="float32",
    weight_dtype="float32",
    use_bias=True,
    recurrent_scale=0.9,
    **options,
):
    """A recurrent layer of D features or channels and M units or filters, all weights random and none zero."""
    gates = GATES[kind]
    options = {"activation": "tanh", "use_bias": use_bias, **dict.fromkeys(FLAGS, False), **options}
    if kind != "SimpleRNN":
        options = {"recurrent_activation": "sigmoid", **options}
    if kind == "GRU":
        options = {"reset_after": True, **options}
    width = ()
    if kind in KERNEL_SIZES:
        ones = (1,) * len(KERNEL_SIZES[kind])
        sizes = {"kernel_size": KERNEL_SIZES[kind], "strides": ones, "dilation_rate": ones, "padding": "valid"}
        options = {"filters": M, **sizes, **options}
        width = options["kernel_size"]
    else:
        options = {"units": M, **options}
    for option in ("activation", "recurrent_activation"):
        if option in options:
            options[option] = Activation(options[option])
    two_biases = kind == "GRU" and options["reset_after"]
    weights = {
        "kernel": rng.normal(size=(*width, D, gates * M)) / np.sqrt(D * math.prod(width)),
        "recurrent_kernel": recurrent_scale * _recurrent_kernel(rng, width, M, gates),
        **_bias(rng, (2, gates * M) if two_biases else gates * M, use_bias=use_bias),
    }
    weights = {key: weight.astype(weight_dtype) for key, weight in weights.items()}
    return Layer(name, kind, (Tensor(source),), options, weights, dtype, mask, initial_state)


def _recurrent_kernel(rng, width, M, gates):
    """Orthogonal for each gate; for convolutions random (..., M, gates·M)."""
    if width:
        return rng.normal(size=(*width, M, gates * M)) / np.sqrt(M * math.prod(width))
    return np.concatenate([np.linalg.qr(rng.normal(size=(M, M)))[0] for _ in range(gates)], axis=1)


def _bias(rng, size, *, use_bias):
    signs = rng.choice([-1.0, 1.0], size=size)
    return {"bias": signs * rng.uniform(0.1, 0.5, size=size)} if use_bias else {}


def make_dense(name, rng, *, D, K, source, activation="linear", use_bias=True, dtype="float32"):
    weights = {"kernel": rng.normal(size=(D, K)) / np.sqrt(D), **_bias(rng, K, use_bias=use_bias)}
    return Layer(
        name,
        "Dense",
        inputs=(Tensor(source),),
        options={"units": K, "activation": Activation(activation), "use_bias": use_bias},
        weights={key: weight.astype(np.float32) for key, weight in weights.items()},
        dtype=dtype,
    )


def state_shape(layer, sizes=()):
    """The shape of a recurrent layer's states for one sample: (M,), or (..., M) for images of the sizes."""
    return np.shape(make_cell(layer, sizes).zero_output)


def make_network(
    *,
    T,
    D,
    M,
    K,
    seed=0,
    kind="SimpleRNN",
    dense_activation="linear",
    dtype="float32",
    input_dtype=None,
    use_bias=True,
    initial_state=False,
    mask=False,
    flatten=False,
    **options,
):
    """Input (T, D) -> recurrent layer (M) -> [Flatten] -> Dense(K); no Dense for K=None; images for a ConvLSTM."""
    rng = np.random.default_rng(seed)
    floats, sizes = input_dtype or dtype, IMAGE_SIZES.get(kind, ())
    start = tuple(Tensor(name) for name in ("h0", "c0")[: STATES[kind]]) if initial_state else ()
    counts = (InputSpec("mask", (T,), "bool"),) if mask else ()
    rnn = make_recurrent(
        "rnn",
        rng,
        D=D,
        M=M,
        kind=kind,
        mask=Tensor("mask") if mask else None,
        initial_state=start,
        dtype=dtype,
        use_bias=use_bias,
        **{"return_sequences": flatten, **options},
    )
    shape = state_shape(rnn, sizes)
    layers, head = [rnn], "rnn"
    if flatten:
        layers.append(Layer("flatten", "Flatten", inputs=(Tensor("rnn"),), dtype=dtype))
        head, M = "flatten", T * math.prod(shape)
    if K is not None:
        layers.append(
            make_dense(
                "dense",
                rng,
                D=M,
                K=K,
                source=head,
                activation=dense_activation,
                use_bias=use_bias,
                dtype=dtype,
            )
        )
        head = "dense"
    states = tuple(Tensor("rnn", 1 + index) for index in range(STATES[kind])) if rnn.options["return_state"] else ()
    return Network(
        "by_hand",
        inputs=(
            InputSpec("inputs", (T, *sizes, D), floats),
            *(InputSpec(tensor.layer, shape, floats) for tensor in start),
            *counts,
        ),
        layers=tuple(layers),
        outputs=(Tensor(head), *states),
    )


MERGE_KINDS = {"concat": "Concatenate", "sum": "Add", "mul": "Multiply", "ave": "Average"}


def make_bidirectional(
    *,
    T,
    D,
    M,
    merge_mode,
    forward="lstm",
    backward="lstm",
    mask=False,
    initial_state=False,
    return_sequences=True,
    seed=0,
    **options,
):
    """Input (T, D) -> Bidirectional, lowered; it puts out its outputs and then all states."""
    rng = np.random.default_rng(seed)
    halves = []
    for side, cell in (("forward", forward), ("backward", backward)):
        starts = [f"{side}_{state}" for state in ("h0", "c0")[: STATES[CELLS[cell]["kind"]]]]
        half = make_recurrent(
            f"both/{side}",
            rng,
            D=D,
            M=M,
            mask=Tensor("mask") if mask else None,
            initial_state=tuple(Tensor(start) for start in starts) if initial_state else (),
            return_sequences=return_sequences,
            return_state=True,
            go_backwards=side == "backward",
            zero_output_for_mask=return_sequences,
            **{**DOUBLE, **CELLS[cell], **options},
        )
        halves.append(half)
    layers, both = [*halves], tuple(Tensor(half.name) for half in halves)
    if return_sequences:
        layers.append(Layer("both/reverse", "Reverse", inputs=both[1:], dtype=halves[0].dtype))
        both = (both[0], Tensor("both/reverse"))
    if merge_mode is not None:
        merging = {"axis": -1} if merge_mode == "concat" else {}
        layers.append(Layer("both", MERGE_KINDS[merge_mode], inputs=both, options=merging, dtype=halves[0].dtype))
        both = (Tensor("both"),)
    states = [Tensor(half.name, 1 + k) for half in halves for k in range(STATES[half.kind])]
    return Network(
        "by_hand",
        inputs=(
            InputSpec("inputs", (T, D), "float64"),
            *(InputSpec(start.layer, (M,), "float64") for half in halves for start in half.initial_state),
            *((InputSpec("mask", (T,), "bool"),) if mask else ()),
        ),
        layers=tuple(layers),
        outputs=(*both, *states),
    )


def make_inputs(network, N, seed=0):
    """One call's inputs for `make_network`; the mask has holes and, for N > 1, a row that never counts."""
    rng = np.random.default_rng((seed, 1))
    arrays = []
    for spec in network.inputs:
        if spec.dtype == "bool":
            counts = rng.random((N, *spec.shape)) > 0.4
            counts[0, 0] = False  # the first step of a sample that counts later on
            if N > 1:
                counts[-1] = False
            arrays.append(counts)
        else:
            number = np.float64 if spec.dtype == "float64" else np.float32
            arrays.append(rng.normal(size=(N, *spec.shape)).astype(number))
    return tuple(arrays)


def replaced(network, layer_name, **weights):
    """The same network with some weights of a layer replaced."""
    layers = []
    for layer in network.layers:
        if layer.name == layer_name:
            layer = Layer(  # noqa: PLW2901 - the changed copy takes its place
                layer.name,
                layer.kind,
                layer.inputs,
                layer.options,
                {**layer.weights, **weights},
                layer.dtype,
                layer.mask,
                layer.initial_state,
            )
        layers.append(layer)
    return Network(network.name, network.inputs, tuple(layers), network.outputs)
