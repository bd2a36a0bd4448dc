"""Layers without a state, formula by formula in plain loops: (inputs and masks, weights, options) -> the output."""

import itertools
import math

import numpy as np


def before_first(length, reach, stride, padding):
    """How many places the first window has before the first step, as TensorFlow's documentation says."""
    if padding == "valid":
        return 0
    if padding == "causal":
        return reach - 1
    over = stride if length % stride == 0 else length % stride
    return max(reach - over, 0) // 2


def outputs_of(length, reach, stride, padding):
    return math.ceil((length - reach + 1) / stride) if padding == "valid" else math.ceil(length / stride)


def windows_of(length, size, stride, dilation, padding):
    """The places of each window that exist, as pairs of place in the window and step."""
    reach = dilation * (size - 1) + 1
    before = before_first(length, reach, stride, padding)
    for t in range(outputs_of(length, reach, stride, padding)):
        places = [(j, t * stride + j * dilation - before) for j in range(size)]
        yield [(j, step) for j, step in places if 0 <= step < length]


def mean(numbers):
    numbers = list(numbers)
    return math.fsum(numbers) / len(numbers)


def softmax(row):
    powers = [math.exp(x - max(row)) for x in row]
    return [power / math.fsum(powers) for power in powers]


FUNCTIONS = {
    "linear": list,
    "softmax": softmax,
    "tanh": lambda row: [math.tanh(x) for x in row],
    "sigmoid": lambda row: [1.0 / (1.0 + math.exp(-x)) for x in row],
    "silu": lambda row: [x / (1.0 + math.exp(-x)) for x in row],
}


def by_row(x, function):
    return np.apply_along_axis(lambda row: np.array(function(list(row))), -1, x)


def each(x, function):
    return np.vectorize(function, otypes=[np.float64])(x)


def dense(inputs, weights, options):
    kernel, bias = weights["kernel"], weights.get("bias", np.zeros(options["units"]))
    places = range(options["units"])

    def units(row):
        return [math.fsum(x * w for x, w in zip(row, kernel[:, k], strict=True)) + bias[k] for k in places]

    return by_row(inputs[0], lambda row: FUNCTIONS[options["activation"].name](units(row)))


def conv1d(inputs, weights, options):
    (x,) = inputs
    (size,), (stride,), (dilation,) = (options[key] for key in ("kernel_size", "strides", "dilation_rate"))
    kernel = weights["kernel"].reshape(size, x.shape[2], -1)
    bias = weights.get("bias", np.zeros(kernel.shape[2]))
    windows = list(windows_of(x.shape[1], size, stride, dilation, options["padding"]))
    result = np.zeros((len(x), len(windows), kernel.shape[2]))
    for n, (t, window), k in itertools.product(range(len(x)), enumerate(windows), range(kernel.shape[2])):
        terms = (x[n, step, c] * kernel[j, c, k] for j, step in window for c in range(x.shape[2]))
        result[n, t, k] = math.fsum(terms) + bias[k]
    return by_row(result, FUNCTIONS[options["activation"].name])


def pooling(pool):
    def pooled(inputs, weights, options):
        (x,) = inputs
        (size,), (stride,) = options["pool_size"], options["strides"]
        windows = windows_of(x.shape[1], size, stride, 1, options["padding"])
        steps = [[step for _, step in window] for window in windows]
        return np.array(
            [
                [[pool([sample[step, d] for step in window]) for d in range(x.shape[2])] for window in steps]
                for sample in x
            ]
        )

    return pooled


def global_pooling(pool):
    def pooled(inputs, weights, options):
        x, *masks = inputs
        counts = masks[0] if masks else np.ones(x.shape[:2], bool)
        result = np.array(
            [
                [
                    pool([step[d] for step, counted in zip(sample, mask, strict=True) if counted])
                    for d in range(x.shape[2])
                ]
                for sample, mask in zip(x, counts, strict=True)
            ]
        )
        return result[:, np.newaxis] if options["keepdims"] else result

    return pooled


def dot(inputs, weights, options):
    axes = options["axes"]
    axes = [axes] * 2 if isinstance(axes, int) else axes
    if options["normalize"]:
        inputs = [x / np.sqrt(np.sum(x * x, axis=axis, keepdims=True)) for x, axis in zip(inputs, axes, strict=True)]
    samples = [
        np.tensordot(x, y, [[a % x.ndim for a in (axes[0] - (axes[0] > 0),)], [axes[1] - (axes[1] > 0)]])
        for x, y in zip(*inputs, strict=True)
    ]
    result = np.array(samples)
    return result[:, np.newaxis] if result.ndim == 1 else result


def attention(inputs, weights, options):
    inputs, masks = inputs[: len(inputs) - len(options["masks"])], inputs[len(inputs) - len(options["masks"]) :]
    masks = dict(zip(options["masks"], masks, strict=True))
    query, value, key = inputs if len(inputs) == 3 else (*inputs, inputs[1])
    counted = masks.get("value", np.ones(value.shape[:2], bool))
    result = np.zeros((*query.shape[:2], value.shape[2]))
    for n, i in itertools.product(range(len(query)), range(query.shape[1])):
        seen = [j for j in range(value.shape[1]) if counted[n, j] and (j <= i or not options.get("use_causal_mask"))]
        scores = [score(query[n, i], key[n, j], weights, options["score_mode"]) for j in seen]
        shares = softmax(scores) if scores else []
        if "query" not in masks or masks["query"][n, i]:
            result[n, i] = sum(share * value[n, j] for share, j in zip(shares, seen, strict=True))
    return result


def score(query, key, weights, mode):
    scale = weights.get("scale", 1.0)
    if mode == "dot":
        return scale * math.fsum(query * key)
    return weights["concat_score_weight"] * math.fsum(math.tanh(scale * z) for z in query + key)


def relu(inputs, weights, options):
    def one(x):
        if x <= options["threshold"]:
            return options["negative_slope"] * (x - options["threshold"])
        return x if options["max_value"] is None else min(x, options["max_value"])

    return each(inputs[0], one)


def prelu(inputs, weights, options):
    alpha = np.broadcast_to(weights["alpha"], inputs[0].shape)
    return np.where(inputs[0] > 0.0, inputs[0], alpha * inputs[0])


def softmax_layer(inputs, weights, options):
    x, *masks = inputs
    keep = masks[0] if masks else np.ones(x.shape, bool)
    axes = options["axis"] if isinstance(options["axis"], tuple) else (options["axis"],)
    powers = np.where(keep, np.exp(x - x.max()), 0.0)
    return powers / powers.sum(axis=axes, keepdims=True)


def along(x, axis, array):
    shape = [1] * x.ndim
    for a in axis:
        shape[a] = x.shape[a]
    return np.reshape(array, shape)


def layer_normalization(inputs, weights, options):
    (x,) = inputs
    axis = tuple(options["axis"])
    result = (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + options["epsilon"])
    return result * along(x, axis, weights.get("gamma", 1.0) * np.ones([x.shape[a] for a in axis])) + along(
        x, axis, weights.get("beta", 0.0) * np.ones([x.shape[a] for a in axis])
    )


def batch_normalization(inputs, weights, options):
    (x,) = inputs
    axis = options["axis"]
    result = np.moveaxis(x, axis, -1)
    result = (result - weights["moving_mean"]) / np.sqrt(weights["moving_variance"] + options["epsilon"])
    return np.moveaxis(result * weights.get("gamma", 1.0) + weights.get("beta", 0.0), -1, axis)


def merging(merge):
    def merged(inputs, weights, options):
        rank = max(x.ndim for x in inputs)
        inputs = [x.reshape(x.shape[0], *[1] * (rank - x.ndim), *x.shape[1:]) for x in inputs]
        return each_of(np.broadcast_arrays(*inputs), merge)

    return merged


def each_of(arrays, merge):
    return np.array([merge(numbers) for numbers in zip(*map(np.ravel, arrays), strict=True)]).reshape(arrays[0].shape)


def masking(inputs, weights, options):
    return np.array(
        [
            [[0.0] * len(step) if all(v == options["mask_value"] for v in step) else step for step in sample]
            for sample in inputs[0]
        ]
    )


FORMULAS = {
    "Dense": dense,
    "Conv1D": conv1d,
    "Dot": dot,
    "Attention": attention,
    "Activation": lambda inputs, weights, options: by_row(inputs[0], FUNCTIONS[options["activation"].name]),
    "ReLU": relu,
    "LeakyReLU": lambda inputs, weights, options: each(
        inputs[0], lambda x: x if x > 0.0 else options["negative_slope"] * x
    ),
    "ELU": lambda inputs, weights, options: each(
        inputs[0], lambda x: x if x > 0.0 else options["alpha"] * math.expm1(x)
    ),
    "PReLU": prelu,
    "Softmax": softmax_layer,
    "LayerNormalization": layer_normalization,
    "BatchNormalization": batch_normalization,
    "MaxPooling1D": pooling(max),
    "AveragePooling1D": pooling(mean),
    "GlobalMaxPooling1D": global_pooling(max),
    "GlobalAveragePooling1D": global_pooling(mean),
    "Add": merging(math.fsum),
    "Subtract": merging(lambda numbers: numbers[0] - numbers[1]),
    "Multiply": merging(math.prod),
    "Average": merging(mean),
    "Maximum": merging(max),
    "Minimum": merging(min),
    "Masking": masking,
    "Embedding": lambda inputs, weights, options: np.array(
        [[weights["embeddings"][i] for i in sample] for sample in inputs[0]]
    ),
}
