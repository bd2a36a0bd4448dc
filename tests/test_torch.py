"""PyTorch modules: what is read from them, and how they are run."""

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import rnncheck
from rnncheck import InputError, UnsupportedError, Verdict
from rnncheck.checks.verdicts import Check
from rnncheck.faults.catalogue import FAULTS
from rnncheck.faults.catalogue.fault import injections

T, D, M, K = 7, 4, 5, 2


class Net(nn.Module):
    """A recurrent module, and what a function makes of (y, h_n), with Linear layers at hand."""

    def __init__(self, rnn, head, **others):
        super().__init__()
        self.rnn, self.head = rnn, head
        self.fc = nn.Linear(M * (2 if rnn.bidirectional else 1), K)
        for name, module in others.items():
            self.add_module(name, module)

    def forward(self, x, hx=None):
        y, states = self.rnn(x, hx)
        return self.head(self, y, states)


class Bare(nn.Module):
    """Modules by name, and a forward that a function gives."""

    def __init__(self, run, **modules):
        super().__init__()
        self.run = run
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.run(self, x)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def sequence(seed=0, n=3):
    return np.random.default_rng(seed).normal(size=(n, T, D)).astype(np.float32)


def matches(module, x=None):
    report = rnncheck.verify(module, sequence() if x is None else x)
    assert report.verdict is Verdict.MATCH, report
    return report


@pytest.mark.few(6)
@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("batch_first", [True, False], ids=["samples_first", "steps_first"])
def test_projected_layers_match_at_every_step(batch_first, bidirectional, count, bias):
    module = nn.LSTM(D, M, count, bias=bias, batch_first=batch_first, bidirectional=bidirectional, proj_size=3)

    report = matches(module)

    network = rnncheck.extract(module)
    recurrent = [layer.name for layer in network.layers if layer.kind == "ProjectedLSTM"]
    assert [row.layer for row in report.rows if row.check is Check.STEP and row.output == "h"] == recurrent
    assert len(recurrent) == count * (2 if bidirectional else 1)
    assert network.parameters == sum(each.numel() for each in module.parameters())


class Loop(nn.Module):
    """A cell in a loop, from zero states, and a Linear of its last h."""

    def __init__(self, kind, bias):
        super().__init__()
        self.cell, self.fc = getattr(nn, kind)(D, M, bias=bias), nn.Linear(M, K)

    def forward(self, x):
        states = None
        for t in range(4):
            states = self.cell(x[:, t], states)
        return self.fc(states[0] if isinstance(self.cell, nn.LSTMCell) else states)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
def test_cells_match_at_every_step(kind, bias):
    report = matches(Loop(kind, bias))

    steps = [row.layer for row in report.rows if row.check is Check.STEP and row.output == "h"]
    assert steps == ["cell", "cell@2", "cell@3", "cell@4"]
    assert rnncheck.extract(Loop(kind, bias)).inputs[0].shape == (None, D)


def test_cell_alone_takes_one_step():
    report = matches(nn.GRUCell(D, M), sequence()[:, 0])

    assert report.rows[0].layer == "grucell"


def test_cell_of_wrong_states_is_refused():
    class Wrong(Loop):
        def forward(self, x):
            h, c = self.cell(x[:, 0])
            return self.cell(x[:, 1], (h, c, h))[0]

    with pytest.raises(UnsupportedError, match="got 3 states; expected"):
        rnncheck.extract(Wrong("LSTMCell", bias=True))


def test_projection_that_is_ignored_is_named():
    module, x = nn.LSTM(D, M, batch_first=True, proj_size=3), sequence()
    network = rnncheck.extract(module)
    (layer,) = network.layers
    ignored = replace(layer, weights={**layer.weights, "projection": np.eye(M, 3, dtype=np.float32)})
    wrong = [y.astype(np.float32) for y in rnncheck.replay(replace(network, layers=(ignored,)), x).outputs]

    report = rnncheck.compare(module, x, wrong)

    assert report.verdict is Verdict.MISMATCH
    assert [name for each in report.entries[0].diagnosis.explanations for name in each.faults] == [
        "projection_ignored"
    ]


@pytest.mark.few(30)
@pytest.mark.parametrize("fault", [each.name for each in FAULTS])
def test_wrong_runs_of_projected_layers_are_judged(fault):
    network = rnncheck.extract(nn.LSTM(D, M, batch_first=True, proj_size=3, bidirectional=True))
    x = sequence()

    for wrong in injections(network, [each for each in FAULTS if each.name == fault]):
        outputs = [y.astype(np.float32) for y in rnncheck.replay(wrong.network, x).outputs]

        assert rnncheck.compare(network, x, outputs).verdict is not Verdict.ERROR, wrong.layer


def test_projection_is_what_its_equation_says():
    module, x = nn.LSTM(D, M, batch_first=True, proj_size=3).double(), sequence().astype(np.float64)
    network = rnncheck.extract(module)

    y, h_last, c_last = rnncheck.replay(network, x).outputs

    w, u, v = (each.detach().numpy() for each in (module.weight_ih_l0, module.weight_hh_l0, module.weight_hr_l0))
    bias = (module.bias_ih_l0 + module.bias_hh_l0).detach().numpy()
    for n, sample in enumerate(x):
        h, c = np.zeros(3), np.zeros(M)
        for t, one in enumerate(sample):
            i, f, g, o = np.split(w @ one + u @ h + bias, 4)
            i, f, o = (1.0 / (1.0 + np.exp(-gate)) for gate in (i, f, o))
            c = f * c + i * np.tanh(g)
            h = v @ (o * np.tanh(c))
            np.testing.assert_allclose(y[n, t], h, rtol=1e-12)
        np.testing.assert_allclose(h_last[n], h, rtol=1e-12)
        np.testing.assert_allclose(c_last[n], c, rtol=1e-12)


@pytest.mark.few(24)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("batch_first", [True, False], ids=["samples_first", "steps_first"])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_every_layer_matches_at_every_step(kind, batch_first, bidirectional, count, bias):
    module = getattr(nn, kind)(D, M, count, bias=bias, batch_first=batch_first, bidirectional=bidirectional)

    report = matches(module)

    halves = ["/forward", "/backward"] if bidirectional else [""]
    layers = [f"{kind.lower()}{f'/{k}' * (count > 1)}{half}" for k in range(count) for half in halves]
    assert [row.layer for row in report.rows if row.check is Check.STEP and row.output == "h"] == layers
    network = rnncheck.extract(module)
    assert network.parameters == sum(each.numel() for each in module.parameters())


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_replay_is_what_torch_computes(kind):
    """Held against torch's own numbers in float64, without any check of ours."""
    module = getattr(nn, kind)(D, M, 2, bidirectional=True, batch_first=True, dtype=torch.float64)
    x = sequence().astype(float)

    y, states = module(torch.from_numpy(x))

    states = torch.cat(states) if kind == "LSTM" else states
    results = rnncheck.replay(module, x).outputs
    np.testing.assert_allclose(results[0], y.detach(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.stack(results[1:]), states.detach(), rtol=0, atol=1e-12)


FORWARDS = {
    "last_step": lambda net, y, _: net.fc(y[:, -1]),
    "a_step": lambda net, y, _: net.fc(y[:, 2, :]),
    "every_step": lambda net, y, _: net.fc(y),
    "activated": lambda net, y, _: torch.tanh(net.fc(nn.functional.relu(y[:, -1]))),
    "methods": lambda net, y, _: net.fc(y.tanh().contiguous()[:, -1]).sigmoid(),
    "dropout": lambda net, y, _: net.fc(nn.functional.dropout(y, 0.5, training=False)),
    "sum_and_product": lambda net, y, _: net.fc(y + y * y),
    "turned": lambda net, y, _: net.fc(y.transpose(0, 1)[-1]),
    "permuted": lambda net, y, _: net.fc(y.permute(1, 0, 2)[0]),
    "permuted_by_a_tuple": lambda net, y, _: net.fc(torch.permute(y, (1, 0, 2))[0]),
    "mean": lambda net, y, _: net.fc(y.mean(dim=1)),
    "mean_of_steps_first": lambda net, y, _: net.fc(torch.mean(y.transpose(0, 1), 0)),
    "softmax": lambda net, y, _: nn.functional.softmax(net.fc(y[:, -1]), dim=-1),
    "log_softmax": lambda net, y, _: net.fc(y).log_softmax(2),
    "several": lambda net, y, _: {"all": net.fc(y), "last": [y[:, -1]]},
}


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("name", FORWARDS)
def test_usual_forwards_match(name, kind):
    matches(Net(getattr(nn, kind)(D, M, batch_first=True), FORWARDS[name]))


@pytest.mark.parametrize("kind", ["RNN", "GRU"])
def test_last_states_match(kind):
    matches(Net(getattr(nn, kind)(D, M, batch_first=True), lambda net, _, h: (net.fc(h[-1]), h)))
    matches(Net(getattr(nn, kind)(D, M, batch_first=True), lambda net, _, h: net.fc(h.squeeze(0))))
    both = getattr(nn, kind)(D, M, 2, batch_first=True, bidirectional=True)
    matches(Net(both, lambda net, _, h: net.fc(torch.cat((h[-2], h[-1]), dim=1))))


def test_last_states_of_an_lstm_match():
    report = matches(Net(nn.LSTM(D, M, 2), lambda net, _, states: (net.fc(states[0][-1]), states[1])), sequence())

    assert [row.layer for row in report.rows if row.check is Check.END_TO_END] == ["fc", "rnn/0", "rnn/1"]


@pytest.mark.parametrize("batch_first", [True, False])
def test_ids_go_through_an_embedding(batch_first, rng):
    def run(net, x):
        y, _ = net.rnn(net.table(x))
        return net.fc(y[:, -1] if batch_first else y[-1])

    module = Bare(
        run, table=nn.Embedding(9, D, padding_idx=0), rnn=nn.GRU(D, M, batch_first=batch_first), fc=nn.Linear(M, K)
    )

    matches(module, rng.integers(0, 9, (3, T)))
    assert rnncheck.verify(module).verdict is Verdict.MATCH  # with random ids


@pytest.mark.parametrize(
    "activation",
    [
        nn.Tanh(), nn.Sigmoid(), nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.3), nn.ELU(0.7), nn.CELU(0.6), nn.SELU(),
        nn.SiLU(), nn.Softsign(), nn.LogSigmoid(), nn.Identity(), nn.Dropout(0.5), nn.Softmax(-1), nn.Softmax(1),
        nn.LogSoftmax(dim=-1), nn.LayerNorm(M), nn.LayerNorm(M, eps=0.1, bias=False),
        nn.LayerNorm(M, elementwise_affine=False),
    ],
    ids=str,
)  # fmt: skip
def test_activations_match_with_their_parameters(activation):
    report = matches(nn.Sequential(nn.Linear(D, M), activation, nn.Linear(M, K)), 3 * sequence()[:, 0])

    assert {row.layer for row in report.rows if row.check is Check.STEP} == {"0", "1", "2"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_every_precision_matches(kind, dtype):
    report = matches(getattr(nn, kind)(D, M, batch_first=True).to(dtype))

    assert report.entries[0].precision.consistent_with == str(dtype).removeprefix("torch.")


def test_random_inputs_have_the_sizes_that_are_asked_for():
    report = rnncheck.verify(nn.GRU(D, M), samples=2, steps=5)

    assert report.rows[0].shape == (2, 5, M)
    assert report.verdict is Verdict.MATCH


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("make", [nn.Linear, nn.RNN, nn.LSTM, nn.GRU], ids=lambda each: each.__name__)
def test_inputs_that_are_small_beside_the_bias_match(make, dtype):
    """BLAS may add their products to the bias one by one."""
    module = make(64, 33).to(dtype)
    shape = (20, 64) if make is nn.Linear else (100, 20, 64)

    report = matches(module, 1e-3 * np.random.default_rng(0).normal(size=shape))

    assert max(row.score_max for row in report.rows) < 6.0


def test_relu_in_the_recurrence_matches():
    matches(nn.RNN(D, M, nonlinearity="relu"))
    matches(nn.RNN(D, M, 2, nonlinearity="relu"))


def test_inputs_go_to_their_places_whatever_is_read_first(rng):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, M), nn.GRU(D, M, batch_first=True)

        def forward(self, extra, x):
            y, _ = self.b(x)
            return y[:, -1] + self.a(extra)[:, -1]

    report = rnncheck.verify(Two(), {"x": sequence(), "extra": rng.normal(size=(3, T, 3))})

    assert report.verdict is Verdict.MATCH
    assert [spec.name for spec in rnncheck.extract(Two()).inputs] == ["extra", "x"]


def test_module_that_is_called_twice_has_two_layers():
    module = Bare(lambda net, x: net.b(net.a(net.a(x))), a=nn.Linear(D, D), b=nn.Linear(D, K))

    matches(module, sequence()[:, 0])
    network = rnncheck.extract(module)
    assert [layer.name for layer in network.layers] == ["a", "a@2", "b"]
    assert network.parameters == sum(each.numel() for each in module.parameters())


def test_module_inside_another_has_a_path():
    inner = nn.Sequential(nn.Linear(D, M), nn.Tanh())

    assert [layer.name for layer in rnncheck.extract(nn.Sequential(inner, nn.Linear(M, K))).layers] == [
        "0/0",
        "0/1",
        "1",
    ]


def test_module_is_evaluated_and_left_as_it_was():
    net = Net(nn.LSTM(D, M, 2, dropout=0.5, batch_first=True), lambda net, y, _: net.drop(y), drop=nn.Dropout(0.5))
    net.fc.eval()
    modes = {name: module.training for name, module in net.named_modules()}
    before = {name: weight.clone() for name, weight in net.state_dict().items()}

    matches(net)

    assert {name: module.training for name, module in net.named_modules()} == modes
    assert all(torch.equal(weight, before[name]) for name, weight in net.state_dict().items())
    assert not any(weight.grad is not None for weight in net.parameters())


def test_module_that_computes_something_else_is_a_mismatch():
    net = Net(nn.GRU(D, M, batch_first=True), lambda net, y, _: net.fc(y))
    net.fc.register_forward_hook(lambda module, inputs, output: output + 0.01)

    report = rnncheck.verify(net, sequence())

    assert report.verdict is Verdict.MISMATCH
    assert str(report).startswith("MISMATCH  Net: fc: bias[0] differs by +0.01\n")


def test_layers_inside_are_not_shown_where_running_them_alone_gives_other_numbers():
    module = nn.LSTM(D, M, 2, batch_first=True)
    module.register_forward_hook(lambda module, inputs, output: (output[0] * 1.5, output[1]))

    report = rnncheck.verify(module, sequence())

    assert report.verdict is Verdict.MISMATCH
    assert "lstm/0" not in {row.layer for row in report.rows if row.output == "h"}


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize(
    "fault", ["bias_dropped", "recurrent_kernel_transposed", "state_not_carried", "time_reversed"]
)
def test_fault_is_caught_and_named_as_in_keras(kind, fault):
    network = rnncheck.extract(Net(getattr(nn, kind)(D, M, batch_first=True), lambda net, y, _: net.fc(y)))
    (injection,) = (each for each in injections(network, FAULTS, {"rnn"}) if each.fault.name == fault)
    x = sequence()

    wrong = rnncheck.replay(injection.network, x).outputs[0].astype(np.float32)
    report = rnncheck.compare(network, x, wrong)

    assert report.verdict is Verdict.MISMATCH
    assert f"`{fault}`" in str(report)


def test_function_is_compared_with_a_module():
    net = Net(nn.GRU(D, M, batch_first=True), FORWARDS["last_step"])

    def port(x):
        with torch.no_grad():
            return net(torch.from_numpy(x.astype(np.float32))).numpy()

    assert rnncheck.compare(net, sequence(), port, metamorphic=True).verdict is Verdict.MATCH
    assert rnncheck.compare(net, sequence(), lambda x: port(x) + 1).verdict is Verdict.MISMATCH


def test_relations_hold_for_a_module():
    report = rnncheck.verify(nn.LSTM(D, M), sequence(), metamorphic=True)

    assert report.verdict is Verdict.MATCH
    assert {"same_call_twice", "batch_permuted", "one_by_one"} <= {str(row.check) for row in report.rows}


def test_walk_is_beside_the_numbers_of_torch():
    net = Net(nn.GRU(D, M, batch_first=True), FORWARDS["last_step"])

    walk = rnncheck.walk(net, sequence())

    assert re.search(r"^0 +PyTorch +-?0\.\d", str(walk), re.MULTILINE)
    assert re.search(r"^fc +PyTorch +-?0\.\d", str(walk), re.MULTILINE)
    assert "Keras" not in str(walk)
    np.testing.assert_allclose(walk.recurrent[0].observed, walk.recurrent[0].by_hand, rtol=0, atol=1e-6)


def test_neither_keras_nor_tensorflow_is_loaded():
    script = """
        import sys, torch, rnncheck
        report = rnncheck.verify(torch.nn.LSTM(3, 4))
        print(report.verdict, report.environment["torch"] == torch.__version__)
        print({"keras", "tensorflow", "jax"} & set(sys.modules))
    """
    script = "\n".join(line.strip() for line in script.splitlines())

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.split("\n") == ["match True", "set()", ""]


def test_exception_in_forward_is_an_error():
    net = Net(nn.GRU(D, M, batch_first=True), FORWARDS["last_step"])
    net.fc.register_forward_hook(lambda module, inputs, output: 1 / 0)

    report = rnncheck.verify(net, sequence())

    assert (report.verdict, report.exit_code) == (Verdict.ERROR, 2)
    assert "ZeroDivisionError: division by zero" in str(report)


class Sampled(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def unread_input():
    class Unread(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(D, K)

        def forward(self, x, lengths):  # noqa: ARG002
            return self.fc(x)

    return Unread()


def asks_what_its_tensors_are():
    class Asks(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(D, M)

        def forward(self, x):
            y, states = self.rnn(x)
            return (y, states[0]) if isinstance(states, tuple) else (y, states)

    return Asks()


def parameter_of_its_own():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.fc = nn.Parameter(torch.ones(K)), nn.Linear(D, K)

        def forward(self, x):
            return self.fc(x) * self.scale

    return Own()


def from_states():
    return Bare(lambda net, x: net.a(x, net.b(x)[1])[0], a=nn.GRU(D, M), b=nn.GRU(D, M))


def mixed_orders():
    return Bare(lambda net, x: net.b(net.a(x)[0])[0], a=nn.GRU(D, M, batch_first=True), b=nn.GRU(M, M))


GRU = nn.GRU(D, M, batch_first=True)
REFUSED = {
    "kind": (
        lambda: nn.Sequential(nn.Conv1d(2, 3, 4)),
        "'0': got a module of the kind Conv1d, which is not replayed; expected RNN, LSTM, GRU, Linear, Embedding,",
    ),
    "branch": (Sampled, "Sampled: got a forward that torch.fx cannot trace (TraceError: symbolically traced"),
    "function": (
        lambda: Net(GRU, lambda net, y, _: y.cumsum(1)),
        "'cumsum': got cumsum(a tensor of rnn, 1) in forward",
    ),
    "sample": (
        lambda: Net(GRU, lambda net, y, _: y[-1]),
        "'getitem_2': got the part [-1] of a tensor; expected one step of a sequence.",
    ),
    "steps": (lambda: Net(GRU, lambda net, y, _: y[:, 1:]), "got the part [slice(None, None, None), slice(1, None,"),
    "tuple": (lambda: nn.Sequential(GRU, nn.Linear(M, K)), "'1': got several tensors as its input; expected one"),
    "states": (from_states, "'a': got GRU called with other arguments than its input; expected the input alone, in"),
    "named": (
        lambda: Bare(lambda net, x: net.a(input=x)[0], a=nn.GRU(D, M)),
        "'a': got GRU called with other arguments than its input; expected the input alone, in",
    ),
    "max_norm": (lambda: nn.Embedding(5, D, max_norm=1.0), "'embedding': got max_norm=1.0; expected none."),
    "first": (nn.Tanh, "'tanh': got the input 'input_1'; expected a layer with weights first."),
    "unread": (unread_input, "Unread: got an input 'lengths' that no layer reads; expected inputs that are read."),
    "parameter": (parameter_of_its_own, "'scale': got the tensor 'scale' of the module itself; expected modules and"),
    "orders": (mixed_orders, "'b': got a tensor whose axis 0 has the samples; expected axis 1, as its batch_first"),
    "number": (lambda: Net(GRU, lambda net, y, _: y + 1.0), "'add': got add(a tensor of rnn, 1.0) in forward"),
    "along_samples": (lambda: Net(GRU, lambda net, y, _: torch.cat((y, y))), "'cat': got cat(several tensors) in"),
    "unlike": (
        lambda: Net(GRU, lambda net, y, _: y + y[:, -1]),
        "'add': got tensors whose axes differ; expected the same axes of all.",
    ),
    "alpha": (
        lambda: Net(GRU, lambda net, y, _: torch.add(y, y, alpha=2)),
        "'add': got add(a tensor of rnn, a tensor",
    ),
    "all_axes": (
        lambda: Net(GRU, lambda net, _, h: h.squeeze()),
        "'squeeze': got squeeze(last states of several layers)",
    ),
    "features": (
        lambda: Net(GRU, lambda net, y, _: net.fc(net.fc(y[:, -1]).transpose(0, 1))),
        "'fc@2': got a tensor whose last axis has the samples; expected features there.",
    ),
    "samples_side_by_side": (
        lambda: Net(GRU, lambda net, y, _: torch.cat((y[:, 0].transpose(0, 1), y[:, 1].transpose(0, 1)), dim=1)),
        "'cat': got cat(several tensors, dim=1) in forward",
    ),
    "output": (lambda: Net(GRU, lambda net, y, _: (net.fc(y), 3)), "forward: got 3 among what it returns; expected"),
    "training": (
        lambda: Net(GRU, lambda net, y, _: nn.functional.dropout(y, 0.5)),
        "'dropout': got dropout(a tensor of rnn, p=0.5, training=True, inplace=False) in forward",
    ),
    "weights that are computed": (
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(D, K)),
        "got a module of the kind <class 'torch.nn.utils.parametrize.ParametrizedLinear'>, which is not replayed",
    ),
    "quantised": (
        lambda: torch.ao.nn.quantized.dynamic.LSTM(D, M),
        "'lstm': got a module of the kind <class 'torch.ao.nn.quantized.dynamic.modules.rnn.LSTM'>",
    ),
    "shapes": (
        lambda: nn.Sequential(nn.Linear(D, M), nn.Linear(3, K)),
        "layer '1': got shapes that do not fit together",
    ),
    "asks": (
        asks_what_its_tensors_are,
        "Asks: got 2 tensors from forward, and 3 when torch.fx traces it; expected a",
    ),
}


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_replayed_is_refused_by_name(name):
    make, message = REFUSED[name]

    with pytest.raises(UnsupportedError) as refusal:
        rnncheck.verify(make())

    assert message in str(refusal.value)


def test_weight_that_is_no_number_is_refused():
    module = nn.GRU(D, M)
    with torch.no_grad():
        module.weight_hh_l0[0, 0] = float("nan")

    with pytest.raises(InputError) as refusal:
        rnncheck.verify(module)

    assert str(refusal.value) == "layer 'gru': got a weight that is NaN or infinite; expected finite numbers."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"paths": ["jit"]},
            "paths: got jit with a PyTorch module; expected none: these are Keras' ways to compute.",
        ),
        (
            {"backends": ["jax"]},
            "backends: got them with a PyTorch module; expected none: these are Keras' backends.",
        ),
        (
            {"architecture": "model.json"},
            "architecture: got it without a file; expected the path of a file of weights",
        ),
    ],
    ids=["paths", "backends", "architecture"],
)
def test_options_of_keras_are_refused(options, message):
    with pytest.raises(InputError) as refusal:
        rnncheck.verify(nn.GRU(D, M), **options)

    assert str(refusal.value).startswith(message)


def test_inputs_have_the_samples_first():
    module = nn.GRU(D, M)  # which takes the steps first

    with pytest.raises(InputError, match=re.escape("got shape (3, 7, 5)")):
        rnncheck.verify(module, np.zeros((3, T, 5)))
    assert rnncheck.verify(module, sequence(n=2)).rows[0].shape[:2] == (2, T)
