"""What a program that `rnncheck walk --emit numpy` writes has of its own: steps and layers in plain NumPy.

`rnncheck.report.program` quotes what a model needs from here, and the rest from `rnncheck.equations`. N, T, D, M are
samples, steps, features and units.
"""

import numpy as np


def float32(x):
    """Round x to float32, and hold it in float64."""
    return np.asarray(x, np.float32).astype(np.float64)


def float16(x):
    """Round x to float16, and hold it in float64."""
    return np.asarray(x, np.float16).astype(np.float64)


def bfloat16(x):
    """Round x to bfloat16, the upper half of float32, and hold it in float64."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    bits = bits + 0x7FFF + ((bits >> 16) & 1)  # to nearest, ties to even
    return (bits & 0xFFFF0000).view(np.float32).astype(np.float64)


def over_time(step, x, states, **how):
    """Take the steps of x (N, T, D), each from the states (N, M) before it -> h after every step, the last states."""
    sequence = []
    for t in range(x.shape[1]):
        states = step(x[:, t], *states, **how)
        sequence.append(states[0])
    return np.stack(sequence, axis=1), *states


def over_masked_time(step, x, states, mask, zero_output, **how):
    """Take the steps of x (N, T, D); one where mask (N, T) is false keeps the states and repeats the output."""
    output, sequence = np.zeros_like(states[0]), []
    for t in range(x.shape[1]):
        after = step(x[:, t], *states, **how)
        counts = mask[:, t].reshape(-1, *(1 for _ in after[0].shape[1:]))
        output = np.where(counts, after[0], 0.0 if zero_output else output)
        states = tuple(np.where(counts, new, old) for new, old in zip(after, states))
        sequence.append(output)
    return np.stack(sequence, axis=1), *states


def simple_rnn(x, h, *, kernel, recurrent_kernel, bias=0.0, activation):
    """h_t = activation(x_t·kernel + h_{t-1}·recurrent_kernel + bias)."""
    return (activation(x @ kernel + h @ recurrent_kernel + bias),)


def lstm(x, h, c, *, kernel, recurrent_kernel, bias=0.0, activation, recurrent_activation):
    """c_t = f*c_{t-1} + i*g and h_t = o*activation(c_t), with the gates in the order i, f, g, o."""
    i, f, g, o = np.split(x @ kernel + h @ recurrent_kernel + bias, 4, axis=-1)
    i, f, o = recurrent_activation(i), recurrent_activation(f), recurrent_activation(o)
    c = f * c + i * activation(g)
    return o * activation(c), c


def gru(x, h, *, kernel, recurrent_kernel, bias=(0.0, 0.0), activation, recurrent_activation):
    """h_t = z*h_{t-1} + (1 - z)*g, where r resets h·U_h after the product; the gates in the order z, r, g."""
    x_z, x_r, x_g = np.split(x @ kernel + bias[0], 3, axis=-1)
    h_z, h_r, h_g = np.split(h @ recurrent_kernel + bias[1], 3, axis=-1)
    z, r = recurrent_activation(x_z + h_z), recurrent_activation(x_r + h_r)
    return (z * h + (1.0 - z) * activation(x_g + r * h_g),)


def gru_reset_before(x, h, *, kernel, recurrent_kernel, bias=0.0, activation, recurrent_activation):
    """h_t = z*h_{t-1} + (1 - z)*g, where r resets h before the product; the gates in the order z, r, g."""
    x_z, x_r, x_g = np.split(x @ kernel + bias, 3, axis=-1)
    u_z, u_r, u_g = np.split(recurrent_kernel, 3, axis=-1)
    z, r = recurrent_activation(x_z + h @ u_z), recurrent_activation(x_r + h @ u_r)
    return (z * h + (1.0 - z) * activation(x_g + (r * h) @ u_g),)


def rnn_in_full(x, h, *, kernel, recurrent_kernel, bias=0.0, activation, clip=np.inf):
    """The step of a simple RNN as ONNX has it: with two biases, and limits of what goes into the activation."""
    z = x @ kernel + h @ recurrent_kernel + np.sum(np.atleast_2d(bias), axis=0)
    return (activation(np.clip(z, -clip, clip)),)


def lstm_in_full(
    x, h, c, *, kernel, recurrent_kernel, bias=0.0, peephole=(0.0, 0.0, 0.0), projection=None,
    activation, recurrent_activation, output_activation=None, clip=np.inf, input_forget=False,
):  # fmt: skip
    """The step of an LSTM with what ONNX and PyTorch add: two biases, peepholes, clip, input_forget, a projection."""
    z = x @ kernel + h @ recurrent_kernel + np.sum(np.atleast_2d(bias), axis=0)
    i, f, g, o = np.split(z, 4, axis=-1)
    p_i, p_f, p_o = np.split(np.asarray(peephole), 3)
    i = recurrent_activation(np.clip(i + p_i * c, -clip, clip))
    f = 1.0 - i if input_forget else recurrent_activation(np.clip(f + p_f * c, -clip, clip))
    c = f * c + i * activation(np.clip(g, -clip, clip))
    o = recurrent_activation(np.clip(o + p_o * c, -clip, clip))
    h = o * (output_activation or activation)(c)
    return h if projection is None else h @ projection, c


def gru_in_full(
    x, h, *, kernel, recurrent_kernel, bias=(0.0, 0.0), activation, recurrent_activation, reset_after, clip=np.inf
):
    """The step of a GRU as ONNX has it: with two biases, and limits of what goes into the activations."""
    x_z, x_r, x_g = np.split(x @ kernel + bias[0], 3, axis=-1)
    u_z, u_r, u_g = np.split(recurrent_kernel, 3, axis=-1)
    b_z, b_r, b_g = np.split(np.broadcast_to(bias[1], recurrent_kernel.shape[1]), 3)
    z = recurrent_activation(np.clip(x_z + h @ u_z + b_z, -clip, clip))
    r = recurrent_activation(np.clip(x_r + h @ u_r + b_r, -clip, clip))
    s = r * (h @ u_g + b_g) if reset_after else (r * h) @ u_g + b_g
    return (z * h + (1.0 - z) * activation(np.clip(x_g + s, -clip, clip)),)


def conv_lstm(
    x, h, c, *, kernel, recurrent_kernel, bias=0.0, activation, recurrent_activation, strides, padding, dilation_rate
):
    """The step of an LSTM, with convolutions for products: x (N, space..., D), h and c (N, space'..., M)."""
    ones = [1] * len(strides)
    z = convolve(x, kernel, strides, padding, dilation_rate) + convolve(h, recurrent_kernel, ones, "same", ones)
    i, f, g, o = np.split(z + bias, 4, axis=-1)
    i, f, o = recurrent_activation(i), recurrent_activation(f), recurrent_activation(o)
    c = f * c + i * activation(g)
    return o * activation(c), c


def zeros_of_image(x, units, size, strides, padding, dilation_rate):
    """Return the state that a ConvLSTM starts from: x (N, T, space..., D) -> zeros (N, space'..., M)."""
    return np.zeros((*windows(x[:, 0], size, strides, padding, dilation_rate).shape[: 1 + len(size)], units))


def windows(x, size, strides, padding, dilation_rate, fill=0.0):
    """Return what windows over space read: x (N, space..., C) -> (N, space'..., C, size...)."""
    around = []
    for length, k, stride, dilation in zip(x.shape[1:-1], size, strides, dilation_rate):
        more = (k - 1) * dilation  # how far a window reaches beyond its first place
        if padding == "same":
            more = max(((length - 1) // stride) * stride + more + 1 - length, 0)
        before = more // 2 if padding == "same" else more  # "causal" pads in front alone
        around.append((0, 0) if padding == "valid" else (before, more - before))
    x = np.pad(x, [(0, 0), *around, (0, 0)], constant_values=fill)
    reach = [(k - 1) * dilation + 1 for k, dilation in zip(size, dilation_rate)]
    every = np.lib.stride_tricks.sliding_window_view(x, reach, axis=range(1, 1 + len(reach)))
    jumps = [slice(None, None, n) for n in strides], [slice(None, None, n) for n in dilation_rate]
    return every[(slice(None), *jumps[0], slice(None), *jumps[1])]


def convolve(x, kernel, strides, padding, dilation_rate, groups=1, split=-1):
    """Multiply what windows read: x (N, space..., C), kernel (size..., C/groups, K) -> (N, space'..., K)."""
    rank = kernel.ndim - 2
    read = np.split(windows(x, kernel.shape[:rank], strides, padding, dilation_rate), groups, axis=1 + rank)
    axes = range(1 + rank, 2 + 2 * rank), (rank, *range(rank))  # channels, then places
    products = (np.tensordot(*pair, axes) for pair in zip(read, np.split(kernel, groups, split)))
    return np.concatenate(list(products), axis=-1)


def convolution(x, *, kernel, bias=0.0, activation, strides, padding, dilation_rate, groups=1):
    """activation(the convolution of x and kernel + bias)."""
    return activation(convolve(x, kernel, strides, padding, dilation_rate, groups) + bias)


def depthwise_convolution(x, *, kernel, bias=0.0, activation, strides, padding, dilation_rate):
    """activation(the convolution of each channel with filters of its own + bias)."""
    channels = x.shape[-1]
    return activation(convolve(x, kernel, strides, padding, dilation_rate, channels, -2) + bias)


def separable_convolution(
    x, *, depthwise_kernel, pointwise_kernel, bias=0.0, activation, strides, padding, dilation_rate
):
    """activation(the convolution of each channel, whose results pointwise_kernel mixes + bias)."""
    inner = convolve(x, depthwise_kernel, strides, padding, dilation_rate, x.shape[-1], -2)
    return activation(inner @ pointwise_kernel.reshape(pointwise_kernel.shape[-2:]) + bias)


def max_pooling(x, *, pool_size, strides, padding):
    """The largest number of each window: x (N, space..., C) -> (N, space'..., C)."""
    read = windows(x, pool_size, strides, padding, [1] * len(pool_size), -np.inf)
    return read.max(axis=tuple(range(-len(pool_size), 0)))


def average_pooling(x, *, pool_size, strides, padding):
    """The mean of each window, without what pads: x (N, space..., C) -> (N, space'..., C)."""
    ones, axes = [1] * len(pool_size), tuple(range(-len(pool_size), 0))
    total, count = (windows(a, pool_size, strides, padding, ones).sum(axis=axes) for a in (x, np.ones_like(x)))
    return total / count


def dense(x, *, kernel, bias=0.0, activation):
    """activation(x·kernel + bias)."""
    return activation(x @ kernel + bias)


def along(x, axis, weight):
    """Return the weight of some axes of x in a shape that stands beside x."""
    axes = [a % x.ndim for a in np.atleast_1d(axis)]
    return np.resize(weight, [size if a in axes else 1 for a, size in enumerate(x.shape)])


def batch_normalization(x, *, gamma=1.0, beta=0.0, moving_mean, moving_variance, axis, epsilon):
    """gamma·(x - moving_mean)/sqrt(moving_variance + epsilon) + beta along an axis."""
    mean, variance, gamma, beta = (along(x, axis, w) for w in (moving_mean, moving_variance, gamma, beta))
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta


def layer_normalization(x, *, gamma=1.0, beta=0.0, axis, epsilon, rms_scaling):
    """gamma·(x - mean)/sqrt(variance + epsilon) + beta, mean and variance over some axes."""
    axes = tuple(np.atleast_1d(axis))
    mean, deviation = x.mean(axes, keepdims=True), np.sqrt(x.var(axes, keepdims=True) + epsilon)
    if rms_scaling:
        return along(x, axis, gamma) * x / deviation
    return along(x, axis, gamma) * (x - mean) / deviation + along(x, axis, beta)


def sigmoid(x):
    """1/(1 + exp(-x))."""
    return 1.0 / (1.0 + np.exp(-np.maximum(x, -708.0)))  # exp of more overflows


def softplus(x):
    """log(1 + exp(x))."""
    return np.logaddexp(0.0, x)


def concatenate(*inputs, axis):
    """The inputs one after the other along an axis."""
    return np.concatenate(inputs, axis)


def zero_padding(x, *, padding):
    """Zeros before and behind x along each axis of space."""
    return np.pad(x, [(0, 0), *padding, (0, 0)])


def up_sampling(x, *, size):
    """Every place as often as size says along each axis of space."""
    for axis, times in enumerate(size, start=1):
        x = x.repeat(times, axis)
    return x


def embedding(x, *, embeddings):
    """The row of the table for each id: x (N, T) -> (N, T, D)."""
    ids = x.astype(int)
    if (ids < 0).any():
        raise IndexError("an id below 0")
    return embeddings[ids]
