"""ONNX models of one recurrent node, at random over all its attributes, and what such a node computes.

The reference is written from the specification of ONNX, sample by sample and unit by unit in float64; it knows
nothing of rnncheck.
"""

import math

import numpy as np
from onnx import TensorProto, helper, numpy_helper

N, T, D, M, K = 3, 6, 4, 5, 2
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
ACTIVATIONS_OF = {"RNN": 1, "GRU": 2, "LSTM": 3}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
WITH_ALPHA = {
    "LeakyRelu": 0.01,
    "ThresholdedRelu": 1.0,
    "Elu": 1.0,
    "HardSigmoid": 0.2,
    "Affine": None,
    "ScaledTanh": None,
}
WITH_BETA = {"HardSigmoid": 0.5, "Affine": None, "ScaledTanh": None}

FUNCTIONS = {
    "Relu": lambda x, a, b: max(x, 0.0),
    "Tanh": lambda x, a, b: math.tanh(x),
    "Sigmoid": lambda x, a, b: 1.0 / (1.0 + math.exp(-x)),
    "Affine": lambda x, a, b: a * x + b,
    "LeakyRelu": lambda x, a, b: x if x >= 0.0 else a * x,
    "ThresholdedRelu": lambda x, a, b: x if x > a else 0.0,
    "ScaledTanh": lambda x, a, b: a * math.tanh(b * x),
    "HardSigmoid": lambda x, a, b: max(0.0, min(1.0, a * x + b)),
    "Elu": lambda x, a, b: x if x >= 0.0 else a * (math.exp(x) - 1.0),
    "Softsign": lambda x, a, b: x / (1.0 + abs(x)),
    "Softplus": lambda x, a, b: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
}


def numbers(rng, *shape, scale=0.4):
    return rng.normal(0.0, scale, shape).astype(np.float32)


def make_node(rng, kind, *, n=3, t=6, d=4, m=5, lens=None, starts=False, bias=True, peepholes=False, **options):
    """Return a model of one node, with all its outputs, and its weights by ONNX' letters."""
    directions = 2 if options.get("direction") == "bidirectional" else 1
    batch_first = options.get("layout", 0)
    weights = {
        "W": numbers(rng, directions, GATES[kind] * m, d),
        "R": numbers(rng, directions, GATES[kind] * m, m),
    }
    if bias:
        weights["B"] = numbers(rng, directions, 2 * GATES[kind] * m)
    if lens is not None:
        weights["sequence_lens"] = np.array(lens, np.int32)
    if starts:
        shape = (n, directions, m) if batch_first else (directions, n, m)
        weights |= {f"initial_{state}": numbers(rng, *shape) for state in ("h", "c")[: 1 + (kind == "LSTM")]}
    if peepholes:
        weights["P"] = numbers(rng, directions, 3 * m)
    names = ["X", *(each if each in weights else "" for each in INPUTS[kind])]
    while not names[-1]:
        names.pop()
    outputs = ["Y", "Y_h", "Y_c"][: 2 + (kind == "LSTM")]
    node = helper.make_node(kind, names, outputs, name="node", hidden_size=m, **options)
    shape = [n, t, d] if batch_first else [t, n, d]
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), weights


INPUTS = {
    "RNN": ("W", "R", "B", "sequence_lens", "initial_h"),
    "GRU": ("W", "R", "B", "sequence_lens", "initial_h"),
    "LSTM": ("W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
}


def random_options(rng, kind, n, t):
    """Return options of `make_node`: any attribute with any value, except layout, which ONNX Runtime does not run."""
    direction = str(rng.choice(["forward", "reverse", "bidirectional"]))
    options = {"direction": direction, "bias": bool(rng.random() < 0.8), "starts": bool(rng.random() < 0.4)}
    if rng.random() < 0.6:
        count = ACTIVATIONS_OF[kind] * (2 if direction == "bidirectional" else 1)
        chosen = [str(each) for each in rng.choice(sorted(FUNCTIONS), count)]
        options["activations"] = chosen
        has = {"alpha": WITH_ALPHA, "beta": WITH_BETA}
        # ONNX Runtime takes 0 where ThresholdedRelu has no alpha; ONNX says 1.
        needed = {"ThresholdedRelu", "Affine", "ScaledTanh"} & set(chosen)
        if needed or rng.random() < 0.5:
            for name, table in has.items():
                values = [float(rng.uniform(0.2, 0.9)) for each in chosen if each in table]
                if values:
                    options[f"activation_{name}"] = values
    # Of large numbers ONNX Runtime's softplus is infinite.
    if rng.random() < 0.4 or "Softplus" in options.get("activations", ()):
        options["clip"] = float(rng.uniform(0.2, 1.5))
    if kind == "GRU" and rng.random() < 0.5:
        options["linear_before_reset"] = 1
    if kind == "LSTM":
        options["peepholes"] = bool(rng.random() < 0.5)
        if rng.random() < 0.3:
            options["input_forget"] = 1
    if rng.random() < 0.4:
        options["lens"] = [t, *(int(each) for each in rng.integers(1, t + 1, n - 1))]
    return options


def random_node(seed):
    """A model of one node, of any kind and with any options."""
    rng, kind = np.random.default_rng(seed), sorted(GATES)[seed % 3]
    return make_node(rng, kind, **random_options(rng, kind, N, T))[0]


def computed(kind, weights, x, options):
    """Return Y, Y_h and for LSTM Y_c of a node for x (T, N, D), by the specification; layout 0."""
    t_steps, n, _ = x.shape
    w, r = weights["W"].astype(float), weights["R"].astype(float)
    directions, m = len(w), r.shape[-1]
    lens = weights.get("sequence_lens", [t_steps] * n)
    named = options.get("activations") or DEFAULTS[kind] * directions
    alphas, betas = iter(options.get("activation_alpha", [])), iter(options.get("activation_beta", []))
    functions = []
    for name in named:
        a = next(alphas, WITH_ALPHA[name]) if name in WITH_ALPHA else None
        b = next(betas, WITH_BETA[name]) if name in WITH_BETA else None
        a, b = (None if each is None else float(np.float32(each)) for each in (a, b))
        functions.append(lambda v, f=FUNCTIONS[name], a=a, b=b: f(v, a, b))
    y = np.zeros((t_steps, directions, n, m))
    last = np.zeros((2, directions, n, m))
    count, g = ACTIVATIONS_OF[kind], GATES[kind]
    for d in range(directions):
        own = functions[d * count : (d + 1) * count]
        bias = weights["B"][d].astype(float) if "B" in weights else np.zeros(2 * g * m)
        p = weights["P"][d].astype(float) if "P" in weights else np.zeros(3 * m)
        back = options.get("direction") == "reverse" or d == 1
        for sample in range(n):
            h, c = (
                weights[f"initial_{s}"][d, sample].astype(float) if f"initial_{s}" in weights else np.zeros(m)
                for s in ("h", "c")
            )
            steps = range(lens[sample])
            for step in reversed(steps) if back else steps:
                one = x[step, sample].astype(float)
                h, c = one_step(kind, one, h, c, w[d], r[d], bias, p, own, options, m)
                y[step, d, sample] = h
            last[0, d, sample], last[1, d, sample] = h, c
    return [y, last[0], last[1]][: 2 + (kind == "LSTM")]


def one_step(kind, x, h, c, w, r, bias, p, functions, options, m):
    clip = options.get("clip")

    def activated(function, sums):
        limited = sums if clip is None else np.clip(sums, -np.float32(clip), np.float32(clip))
        return np.array([function(float(each)) for each in limited])

    def gate(k):
        return slice(k * m, (k + 1) * m)

    half = len(bias) // 2
    from_x, of_r = w @ x + bias[:half], bias[half:]
    if kind == "RNN":
        return activated(functions[0], from_x + r @ h + of_r), c
    if kind == "GRU":
        f, g = functions
        z = activated(f, from_x[gate(0)] + r[gate(0)] @ h + of_r[gate(0)])
        reset = activated(f, from_x[gate(1)] + r[gate(1)] @ h + of_r[gate(1)])
        if options.get("linear_before_reset"):
            inner = reset * (r[gate(2)] @ h + of_r[gate(2)])
        else:
            inner = r[gate(2)] @ (reset * h) + of_r[gate(2)]
        return (1.0 - z) * activated(g, from_x[gate(2)] + inner) + z * h, c
    f, g, last = functions
    sums = from_x + r @ h + of_r
    i = activated(f, sums[gate(0)] + p[gate(0)] * c)
    forget = 1.0 - i if options.get("input_forget") else activated(f, sums[gate(2)] + p[gate(2)] * c)
    c = forget * c + i * activated(g, sums[gate(3)])
    o = activated(f, sums[gate(1)] + p[gate(1)] * c)
    # What goes into the last activation is not limited, in ONNX Runtime as in Keras' cells with a clip.
    return o * np.array([last(float(each)) for each in c]), c


def graph_of(nodes, inputs, outputs, weights=(), opset=17):
    """Return a model of nodes, each (operator, inputs, outputs, options); inputs and outputs have shapes."""
    made = [
        helper.make_node(kind, given.split(), made.split(), name=f"{kind}_{place}", **options)
        for place, (kind, given, made, options) in enumerate(nodes)
    ]
    types = {"ids": TensorProto.INT64, "lens": TensorProto.INT32}
    given, returned = (
        [helper.make_tensor_value_info(n, types.get(n, TensorProto.FLOAT), shape) for n, shape in tensors.items()]
        for tensors in (inputs, outputs)
    )
    graph = helper.make_graph(
        made,
        "graph",
        given,
        returned,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in dict(weights).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


# --- graphs of the nodes around ---

W, V = np.linspace(-1.0, 1.0, D * K, dtype=np.float32).reshape(D, K), np.float32([0.5, -0.25])
AROUND = {
    "matmul": [("MatMul", "x W", "y", {})],
    "matmul-add": [("MatMul", "x W", "p", {}), ("Add", "V p", "y", {})],
    "matmul-read-twice": [("MatMul", "x W", "p", {}), ("Add", "p V", "q", {}), ("Mul", "p q", "y", {})],
    "gemm": [("Flatten", "x", "f", {}), ("Gemm", "f G V", "y", {"transB": 1})],
    "gemm-without-bias": [("Flatten", "x", "f", {}), ("Gemm", "f H", "y", {})],
    "turned": [
        ("Transpose", "x", "p", {"perm": [1, 0, 2]}), ("MatMul", "p W", "q", {}), ("Softmax", "q", "y", {}),
    ],
    "last-step": [
        ("Slice", "x minus1 large one", "p", {}), ("Squeeze", "p one", "q", {}), ("MatMul", "q W", "y", {}),
    ],
    "step": [("Gather", "x two", "p", {"axis": 1}), ("MatMul", "p W", "y", {})],
    "feature": [("Gather", "x two", "p", {"axis": 2}), ("Tanh", "p", "y", {})],
    "step-and-feature-by-slices": [
        ("Slice", "x one upto2 one", "p", {}), ("Slice", "p one upto2 upto2", "q", {}), ("Tanh", "q", "y", {}),
    ],
    "step-of-a-sequence-first": [
        ("Transpose", "x", "p", {"perm": [1, 0, 2]}), ("Gather", "p two", "q", {"axis": 0}), ("Tanh", "q", "y", {}),
    ],
    "mean-of-one": [
        ("ReduceMean", "x", "p", {"axes": [1], "keepdims": 1}), ("Flatten", "p", "f", {}), ("MatMul", "f W", "y", {}),
    ],
    "bias-of-another": [("MatMul", "x W", "p", {}), ("Tanh", "p", "q", {}), ("Add", "q V", "y", {})],
    "two-biases": [("MatMul", "x W", "p", {}), ("Add", "p V", "q", {}), ("Add", "q V", "y", {})],
    "number": [("Add", "x half", "p", {}), ("Sub", "half p", "q", {}), ("Mul", "q half", "y", {})],
    "reversed": [("Slice", "x minus1 least one minus1", "p", {}), ("MatMul", "p W", "y", {})],
    "unsqueezed": [("Unsqueeze", "x one", "p", {}), ("Tanh", "p", "q", {}), ("Squeeze", "q one", "y", {})],
    "rows": [("Reshape", "x rows", "p", {}), ("MatMul", "p W", "q", {}), ("Reshape", "q back", "y", {})],
    "rows-by-shape": [
        ("Shape", "x", "s", {}), ("Slice", "s zero upto2 zero", "a", {}), ("Concat", "a upto2", "t", {"axis": 0}),
        ("Reshape", "x rows", "p", {}), ("MatMul", "p W", "q", {}), ("Reshape", "q t", "y", {}),
    ],
    "sums": [("Add", "x x", "p", {}), ("Sub", "p C", "q", {}), ("Mul", "q C1", "y", {})],
    "cat": [("Tanh", "x", "p", {}), ("Concat", "x p", "y", {"axis": -1})],
    "mean": [("ReduceMean", "x", "p", {"axes": [1], "keepdims": 0}), ("MatMul", "p W", "y", {})],
    "max": [
        ("ReduceMax", "x", "p", {"axes": [1], "keepdims": 1}), ("Squeeze", "p one", "q", {}), ("Relu", "q", "y", {}),
    ],
    "norm": [("LayerNormalization", "x C1 C", "y", {"axis": -1})],
    "all-steps-backwards": [
        ("Transpose", "x", "p", {"perm": [1, 0, 2]}), ("Shape", "p", "s", {}), ("Gather", "s zero", "t", {}),
        ("Gather", "s one", "n", {}), ("Expand", "t n", "l", {}),
        ("ReverseSequence", "p l", "y", {"time_axis": 0, "batch_axis": 1}),
    ],
    **{
        kind: [(kind, "x", "y", {})]
        for kind in ("Relu", "Tanh", "Sigmoid", "Softplus", "Softsign", "LeakyRelu", "Elu", "Celu", "HardSigmoid",
                     "ThresholdedRelu", "Softmax", "LogSoftmax", "Identity")
    },
    "leaky": [("LeakyRelu", "x", "y", {"alpha": 0.3})],
    "constant": [("Constant", "", "c", {"value_floats": [1.0, 2.0, 3.0, 4.0]}), ("Mul", "x c", "y", {})],
    "double": [("Cast", "x", "p", {"to": TensorProto.DOUBLE}), ("Tanh", "p", "q", {}), ("Cast", "q", "y", {"to": 1})],
}  # fmt: skip
CONSTANTS = {
    "W": W, "V": V, "G": np.resize(W, (K, T * D)), "H": np.resize(W, (T * D, K)), "C": np.float32([1, 2, 3, -4]),
    "C1": np.float32([0.5, 2, 1, -1]), "zero": np.array([0]), "one": np.array([1]), "two": np.array(2),
    "upto2": np.array([2]), "minus1": np.array([-1]), "large": np.array([2**31 - 1]), "least": np.array([-(2**63)]),
    "half": np.float32(0.5), "rows": np.array([-1, D]), "back": np.array([-1, T, K]),
}  # fmt: skip


def around(name):
    """Return the model of one of those graphs."""
    used = {each for _, given, _, _ in AROUND[name] for each in given.split()}
    weights = {each: value for each, value in CONSTANTS.items() if each in used}
    return graph_of(AROUND[name], {"x": ["n", T, D]}, {"y": None}, weights)
