"""Layers without a state, formula by formula in plain loops: (inputs and masks, weights, options) -> the output."""

import itertools
import math

import numpy as np

from rnncheck.network import Activation


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


def windows_over(space, size, strides, padding, dilation):
    """Each window's own place, and the places in it that exist: pairs of place in the window and place in space."""
    axes = [list(windows_of(*axis, padding)) for axis in zip(space, size, strides, dilation, strict=True)]
    for place in itertools.product(*(range(len(axis)) for axis in axes)):
        along = (axis[t] for axis, t in zip(axes, place, strict=True))
        yield place, [tuple(zip(*pairs, strict=True)) for pairs in itertools.product(*along)]


def channels_last(formula):
    """The formula of a layer that data_format may tell to take (N, C, space...) for (N, space..., C)."""

    def applied(inputs, weights, options):
        if options["data_format"] == "channels_last":
            return formula(inputs, weights, options)
        x, *masks = inputs
        linear = options | {"activation": Activation("linear")}
        result = np.moveaxis(formula([np.moveaxis(x, 1, -1), *masks], weights, linear), -1, 1)
        return by_row(result, FUNCTIONS[options["activation"].name]) if "activation" in options else result

    return applied


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


def windows_in(x, options, size):
    dilation = options.get("dilation_rate", [1] * len(options[size]))
    return dict(windows_over(x.shape[1:-1], options[size], options["strides"], options["padding"], dilation))


def over_windows(x, windows, channels, number):
    """The array of number(sample, what a window holds, channel)."""
    result = np.zeros((len(x), *(1 + last for last in max(windows)), channels))
    for n, (place, window), k in itertools.product(range(len(x)), windows.items(), range(channels)):
        result[(n, *place, k)] = number(x[n], window, k)
    return result


def convolution(inputs, weights, options):
    (x,), kernel = inputs, weights["kernel"]
    *_, own, filters = kernel.shape  # of each group, so many channels and all filters
    bias = weights.get("bias", np.zeros(filters))

    def number(sample, window, k):
        first = k // (filters // options["groups"]) * own
        terms = (sample[(*at, first + c)] * kernel[(*j, c, k)] for j, at in window for c in range(own))
        return math.fsum(terms) + bias[k]

    result = over_windows(x, windows_in(x, options, "kernel_size"), filters, number)
    return by_row(result, FUNCTIONS[options["activation"].name])


def depthwise(x, kernel, options):
    *_, channels, multiplier = kernel.shape

    def number(sample, window, k):
        c, m = divmod(k, multiplier)
        return math.fsum(sample[(*at, c)] * kernel[(*j, c, m)] for j, at in window)

    return over_windows(x, windows_in(x, options, "kernel_size"), channels * multiplier, number)


def depthwise_convolution(inputs, weights, options):
    result = depthwise(*inputs, weights["kernel"], options) + weights.get("bias", 0.0)
    return by_row(result, FUNCTIONS[options["activation"].name])


def separable_convolution(inputs, weights, options):
    pointwise = weights["pointwise_kernel"]
    pointwise = pointwise.reshape(-1, pointwise.shape[-1])
    inner = depthwise(*inputs, weights["depthwise_kernel"], options)
    result = by_row(inner, lambda row: [math.fsum(np.array(row) * column) for column in pointwise.T])
    return by_row(result + weights.get("bias", 0.0), FUNCTIONS[options["activation"].name])


def pooling(pool):
    def pooled(inputs, weights, options):
        (x,) = inputs
        windows = windows_in(x, options, "pool_size")
        return over_windows(
            x, windows, x.shape[-1], lambda sample, window, c: pool([sample[(*at, c)] for _, at in window])
        )

    return channels_last(pooled)


def global_pooling(pool):
    def pooled(inputs, weights, options):
        x, *masks = inputs
        n, *space, channels = x.shape
        steps = x.reshape(n, -1, channels)
        counts = masks[0] if masks else np.ones(steps.shape[:2], bool)
        result = [
            [pool(step[c] for step, counted in zip(sample, mask, strict=True) if counted) for c in range(channels)]
            for sample, mask in zip(steps, counts, strict=True)
        ]
        return np.array(result).reshape(n, *([1] * len(space) if options["keepdims"] else []), channels)

    return channels_last(pooled)


def moving(place_of, size_of):
    """Each number of the result from a place of x, or zero: along each axis of space, by its option and length."""

    def moved(option):
        def applied(inputs, weights, options):
            (x,) = inputs
            space = [size_of(size, each) for size, each in zip(x.shape[1:-1], options[option], strict=True)]
            result = np.zeros((len(x), *space, x.shape[-1]))
            for place in itertools.product(*map(range, space)):
                read = tuple(map(place_of, place, options[option]))
                if all(0 <= at < size for at, size in zip(read, x.shape[1:-1], strict=True)):
                    result[(slice(None), *place)] = x[(slice(None), *read)]
            return result

        return lambda inputs, weights, options: channels_last(applied)(
            inputs, weights, {"data_format": "channels_last"} | options
        )

    return moved


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
    axis = tuple(np.ravel(options["axis"]))
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


def group_normalization(inputs, weights, options):
    (x,) = inputs
    result = np.moveaxis(x, options["axis"], -1).copy()
    own = result.shape[-1] // options["groups"]
    for n, first in itertools.product(range(len(x)), range(0, result.shape[-1], own)):
        group = result[n, ..., first : first + own]
        centre = mean(group.ravel())
        variance = mean((number - centre) ** 2 for number in group.ravel())
        result[n, ..., first : first + own] = (group - centre) / math.sqrt(variance + options["epsilon"])
    return np.moveaxis(result * weights.get("gamma", 1.0) + weights.get("beta", 0.0), -1, options["axis"])


def unit_normalization(inputs, weights, options):
    length = np.sqrt(np.square(inputs[0]).sum(axis=tuple(np.ravel(options["axis"])), keepdims=True))
    return inputs[0] / np.maximum(length, 1e-12)


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


PADDED = moving(lambda place, ends: place - ends[0], lambda size, ends: size + sum(ends))
CROPPED = moving(lambda place, ends: place + ends[0], lambda size, ends: size - sum(ends))
REPEATED = moving(lambda place, times: place // times, lambda size, times: size * times)

FORMULAS = {
    "Dense": dense,
    **{f"Conv{rank}D": channels_last(convolution) for rank in (1, 2, 3)},
    **{f"DepthwiseConv{rank}D": channels_last(depthwise_convolution) for rank in (1, 2)},
    **{f"SeparableConv{rank}D": channels_last(separable_convolution) for rank in (1, 2)},
    **{f"ZeroPadding{rank}D": PADDED("padding") for rank in (1, 2, 3)},
    **{f"Cropping{rank}D": CROPPED("cropping") for rank in (1, 2, 3)},
    **{f"UpSampling{rank}D": REPEATED("size") for rank in (1, 2, 3)},
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
    "GroupNormalization": group_normalization,
    "UnitNormalization": unit_normalization,
    "Flatten": channels_last(
        lambda inputs, weights, options: np.array([list(sample.ravel()) for sample in inputs[0]])
    ),
    **{f"MaxPooling{rank}D": pooling(max) for rank in (1, 2, 3)},
    **{f"AveragePooling{rank}D": pooling(mean) for rank in (1, 2, 3)},
    **{f"GlobalMaxPooling{rank}D": global_pooling(max) for rank in (1, 2, 3)},
    **{f"GlobalAveragePooling{rank}D": global_pooling(mean) for rank in (1, 2, 3)},
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
