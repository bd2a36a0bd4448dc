"""A second reference, independent of the package: scalars, loops and the math module, formula by formula.

Everything here is plain Python: a sequence is a list over n of lists over t of lists over units, sums are exactly
rounded (`math.fsum`). At the end, `make_network` makes by hand the networks that the tests replay.
"""

import math

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


# --- layers ---


def _pre_activation(inputs, kernel, bias, unit):
    products = [value * row[unit] for value, row in zip(inputs, kernel, strict=True)]
    return products if bias is None else [*products, bias[unit]]


def dense_units(x, kernel, bias, activation):
    """activation(Σ_i x_i·kernel_ij + bias_j) of one row."""
    return ACTIVATIONS[activation]([math.fsum(_pre_activation(x, kernel, bias, j)) for j in range(len(kernel[0]))])


def dense(x, kernel, bias, activation):
    """Dense over rows (N, D) or sequences (N, T, D)."""
    if isinstance(x[0][0], list):
        return [[dense_units(row, kernel, bias, activation) for row in sample] for sample in x]
    return [dense_units(row, kernel, bias, activation) for row in x]


def flatten(x):
    """(N, T, M) -> (N, T·M)."""
    return [[value for row in sample for value in row] for sample in x]


def simple_rnn_step(x, h, kernel, recurrent_kernel, bias, activation):
    """h_t = activation(Σ_i x_i·kernel_ij + Σ_i h_i·recurrent_kernel_ij + bias_j)."""
    sums = [
        math.fsum(_pre_activation(x, kernel, bias, j) + _pre_activation(h, recurrent_kernel, None, j))
        for j in range(len(kernel[0]))
    ]
    return ACTIVATIONS[activation](sums)


def simple_rnn_sample(sequence, h, counts, step, *, go_backwards, zero_output_for_mask):
    """Run one sample; return the outputs of all steps in the order in which they are taken, and the last state.

    A step that does not count keeps the state and repeats the previous output, which is zero before the first step
    that counts whatever the state is; with zero_output_for_mask it puts out zero.
    """
    zeros = [0.0] * len(h)
    order = range(len(sequence))
    output, outputs = zeros, []
    for t in reversed(order) if go_backwards else order:
        if counts is None or counts[t]:
            h = step(sequence[t], h)
            output = h
        elif zero_output_for_mask:
            output = zeros
        outputs.append(output)
    return outputs, h


def simple_rnn(x, initial, mask, weights, activation, *, go_backwards=False, zero_output_for_mask=False):
    """Run all samples; return the outputs (N, T, M) and the final states (N, M)."""

    def step(row, h):
        return simple_rnn_step(
            row, h, weights["kernel"], weights["recurrent_kernel"], weights.get("bias"), activation
        )

    results = [
        simple_rnn_sample(
            x[n],
            initial[n],
            None if mask is None else mask[n],
            step,
            go_backwards=go_backwards,
            zero_output_for_mask=zero_output_for_mask,
        )
        for n in range(len(x))
    ]
    return [outputs for outputs, _ in results], [state for _, state in results]


def run(network, calls):
    """Run a network of `make_network` over several calls; return the list of outputs of each call."""
    rnn = network.layer("rnn")
    kept, results = None, []
    for call in calls:
        given = {spec.name: array.tolist() for spec, array in zip(network.inputs, call, strict=True)}
        x = rounded_all(given["inputs"], rnn.dtype)
        initial = rounded_all(given["h0"], rnn.dtype) if "h0" in given else kept
        outputs, states = simple_rnn(
            x,
            initial or [[0.0] * rnn.options["units"] for _ in x],
            given.get("mask"),
            _weights(rnn),
            rnn.options["activation"].name,
            go_backwards=rnn.options["go_backwards"],
            zero_output_for_mask=rnn.options["zero_output_for_mask"],
        )
        if rnn.options["stateful"]:
            kept = states
        head = outputs if rnn.options["return_sequences"] else [sample[-1] for sample in outputs]
        results.append([_head(network, head), *([states] if rnn.options["return_state"] else [])])
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


def make_network(
    *,
    T,
    D,
    M,
    K,
    seed=0,
    activation="tanh",
    dense_activation="linear",
    dtype="float32",
    input_dtype=None,
    use_bias=True,
    initial_state=False,
    mask=False,
    flatten=False,
    recurrent_scale=0.9,
    **options,
):
    """Input (T, D) -> SimpleRNN(M) -> [Flatten] -> Dense(K), all weights random and none zero."""
    rng = np.random.default_rng(seed)
    options = {
        "return_sequences": flatten,
        "return_state": False,
        "go_backwards": False,
        "stateful": False,
        "zero_output_for_mask": False,
        **options,
    }
    floats, features = input_dtype or dtype, T * M if flatten else M
    rnn = Layer(
        "rnn",
        "SimpleRNN",
        inputs=(Tensor("inputs"),),
        options={"units": M, "activation": Activation(activation), **options},
        weights={
            "kernel": (rng.normal(size=(D, M)) / np.sqrt(D)).astype(np.float32),
            "recurrent_kernel": (recurrent_scale * np.linalg.qr(rng.normal(size=(M, M)))[0]).astype(np.float32),
            **_bias(rng, M, use_bias=use_bias),
        },
        dtype=dtype,
        mask=Tensor("mask") if mask else None,
        initial_state=(Tensor("h0"),) if initial_state else (),
    )
    flat = Layer("flatten", "Flatten", inputs=(Tensor("rnn"),), dtype=dtype)
    head = Layer(
        "dense",
        "Dense",
        inputs=(Tensor("flatten" if flatten else "rnn"),),
        options={"units": K, "activation": Activation(dense_activation)},
        weights={
            "kernel": (rng.normal(size=(features, K)) / np.sqrt(features)).astype(np.float32),
            **_bias(rng, K, use_bias=use_bias),
        },
        dtype=dtype,
    )
    h0 = (InputSpec("h0", (M,), floats),) if initial_state else ()
    counts = (InputSpec("mask", (T,), "bool"),) if mask else ()
    state = (Tensor("rnn", 1),) if options["return_state"] else ()
    return Network(
        "by_hand",
        inputs=(InputSpec("inputs", (T, D), floats), *h0, *counts),
        layers=(rnn, flat, head) if flatten else (rnn, head),
        outputs=(Tensor("dense"), *state),
    )


def _bias(rng, units, *, use_bias):
    signs = rng.choice([-1.0, 1.0], size=units)
    return {"bias": (signs * rng.uniform(0.1, 0.5, size=units)).astype(np.float32)} if use_bias else {}


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
            arrays.append(rng.normal(size=(N, *spec.shape)).astype(np.float32))
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
