"""State dicts of PyTorch: weights without a forward, read from files that hold no code."""

import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import rnncheck
from rnncheck import InputError, UnsupportedError, Verdict
from rnncheck.frameworks.torch import state_dict

T, D, M, K, V = 6, 4, 5, 3, 9


class Net(nn.Module):
    """Modules one after the other, each of which reads every step of what the one before it puts out."""

    def __init__(self, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        for module in self.children():
            x = module(x)
            x = x[0] if isinstance(x, tuple) else x
        return x


NETS = {
    "lstm": lambda: Net(rnn=nn.LSTM(D, M, batch_first=True), fc=nn.Linear(M, K)),
    "rnn": lambda: Net(a=nn.RNN(D, M, 2, batch_first=True)),
    "gru": lambda: Net(embedding=nn.Embedding(V, D), b=nn.GRU(D, M, 2, batch_first=True, bidirectional=True),
                       a=nn.Linear(2 * M, K, bias=False)),
    "projected": lambda: Net(rnn=nn.LSTM(D, M, batch_first=True, proj_size=2, bidirectional=True), y=nn.Linear(4, K)),
    "without bias": lambda: Net(a=nn.GRU(D, M, bias=False, batch_first=True), b=nn.LSTM(M, K, batch_first=True)),
    "linear first": lambda: Net(z=nn.Linear(D, M), rnn=nn.LSTM(M, K, batch_first=True)),
}  # fmt: skip


def made(name):
    torch.manual_seed(0)
    return NETS[name]()


def inputs(name, n=3):
    rng = np.random.default_rng(0)
    if name == "gru":
        return rng.integers(0, V, (n, T))
    return rng.normal(size=(n, T, D)).astype(np.float32)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("form", ["safetensors", "npz", "mapping"])
@pytest.mark.parametrize("name", NETS)
def test_what_a_module_computes_is_what_its_weights_say(name, form, tmp_path):
    module, x, path = made(name), inputs(name), tmp_path / f"model.{form}"
    weights = module.state_dict()
    if form == "safetensors":  # which sorts the names
        save_file(weights, path)
    elif form == "npz":
        np.savez(path, **{key: value.numpy() for key, value in weights.items()})
    with torch.no_grad():
        y = module(torch.from_numpy(x)).numpy()

    report = rnncheck.compare(weights if form == "mapping" else path, x, y)

    assert report.verdict is Verdict.MATCH, report
    assert rnncheck.extract(weights).parameters == sum(each.numel() for each in module.parameters())
    wrong = rnncheck.compare(weights if form == "mapping" else path, x, np.roll(y, 1, axis=0))
    assert wrong.verdict is Verdict.MISMATCH


def test_what_a_state_dict_does_not_say_is_told(tmp_path, rnncheck_command):
    save_file(made("rnn").state_dict(), path := tmp_path / "rnn.safetensors")
    np.save(tmp_path / "x.npy", inputs("rnn"))
    np.save(tmp_path / "y.npy", made("rnn")(torch.from_numpy(inputs("rnn"))).detach().numpy())

    done = rnncheck_command("compare", path, "--inputs", tmp_path / "x.npy", "--outputs", tmp_path / "y.npy")

    assert done.code == 0
    assert "a state dict does not say the nonlinearity of an RNN: taken was tanh" in " ".join(done.out.split())
    notes = state_dict.read(made("gru").state_dict()).notes
    assert notes[0] == "a state dict does not say what follows what: taken was embedding -> b -> a"


def test_modules_that_fit_in_two_orders_are_refused():
    with pytest.raises(UnsupportedError, match="got modules that fit as 0 -> 1 and as 1 -> 0; expected one order"):
        state_dict.read(nn.Sequential(nn.Linear(D, D), nn.Linear(D, D)).state_dict())


def test_show_and_weights_take_a_file(tmp_path, rnncheck_command):
    save_file(made("lstm").state_dict(), path := tmp_path / "model.safetensors")

    shown = rnncheck_command("show", path)
    written = rnncheck_command("weights", path, "--to", "npz", "--output", tmp_path / "out.npz")

    assert (shown.code, written.code) == (0, 0), shown.err + written.err
    assert shown.out.startswith("model.safetensors, the weights of a PyTorch module")
    assert re.search(r"^rnn +LSTM +\(N, T, 5\)", shown.out, re.MULTILINE)
    assert set(np.load(tmp_path / "out.npz")) == {
        "rnn/kernel", "rnn/recurrent_kernel", "rnn/bias", "fc/kernel", "fc/bias",
    }  # fmt: skip


def test_weights_alone_do_not_run(tmp_path, rnncheck_command):
    save_file(made("lstm").state_dict(), path := tmp_path / "model.safetensors")

    done = rnncheck_command("verify", path)

    assert (done.code, "got a Network; expected a model of Keras or PyTorch, a file or a Case" in done.err) == (
        2,
        True,
    )


def changed(**arrays):
    weights = {key: value.numpy() for key, value in made("lstm").state_dict().items()}
    return {key: value for key, value in {**weights, **arrays}.items() if value is not None}


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (
            {"norm.weight": np.ones(3)},
            "'norm': got weight; expected the weights of an RNN, LSTM, GRU, Linear or Embedding",
        ),
        (
            {"conv.weight": np.ones((3, 2)), "conv.scale": np.ones(3)},
            "'conv': got weight, scale; expected the weights",
        ),
        (changed(**{"rnn.other": np.ones(3)}), "'rnn': got 'other'; expected the weights of an RNN, LSTM or GRU"),
        (
            changed(**{"rnn.weight_hh_l0": np.ones((2 * M, M))}),
            "'rnn': got weights that are not those of an RNN, LSTM",
        ),
        (
            changed(**{"rnn.weight_ih_l0": np.ones((2 * M, D))}),
            "'rnn': got weights that are not those of an RNN, LSTM",
        ),
        (
            changed(**{"rnn.weight_ih_l2": np.ones((4 * M, M))}),
            "'rnn': got weights that are not those of an RNN, LSTM",
        ),
        (changed(**{"rnn.weight_hh_l0": None}), "'rnn': got weights that are not those of an RNN, LSTM"),
        (
            changed(**{"fc.weight": np.ones((K, M + 1))}),
            "got rnn (4 -> 5), fc (6 -> 3), which do not follow one another",
        ),
        (changed(**{"fc.bias": np.ones(1)}), "'fc': got a bias (1,) for 3 units; expected one number each"),
        (changed(**{"rnn.weight_ih_l99999999": np.ones(3)}), "'rnn': got 'weight_ih_l99999999'; expected"),
        (
            changed(**{"rnn.weight_hr_l0": np.ones((2, 4 * M))}),
            "'rnn': got weights that are not those of an RNN, LSTM",
        ),
        ({"a/b.weight": np.ones((2, 2)), "a.b.weight": np.ones((2, 2))}, "got two modules of one name"),
        ({f"m{k}.weight": np.ones((2, 2)) for k in range(8)}, "got 8 modules; expected at most 7"),
    ],
    ids=[
        "norm",
        "scale",
        "other",
        "shape",
        "ratio",
        "layers",
        "missing",
        "sizes",
        "bias",
        "number",
        "projection",
        "name",
        "many",
    ],
)
def test_what_is_not_understood_is_refused_by_name(weights, said):
    with pytest.raises((UnsupportedError, InputError), match=re.escape(said)):
        state_dict.read(weights)


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match=re.escape("'fc.bias': got a weight that is NaN or infinite")):
        state_dict.read(changed(**{"fc.bias": np.full(K, np.nan)}))


@pytest.mark.parametrize("content", [b"", b"no header at all, but some text", b"\xff" * 64])
def test_damaged_files_are_refused(content, tmp_path, rnncheck_command):
    (tmp_path / "model.safetensors").write_bytes(content)

    done = rnncheck_command("show", tmp_path / "model.safetensors")

    assert (done.code, "it cannot be read (" in done.err, "Traceback" in done.err) == (2, True, False)


@pytest.mark.parametrize("suffix", state_dict.PICKLES)
def test_pickles_are_refused_unread(suffix, tmp_path, rnncheck_command):
    (tmp_path / f"model{suffix}").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")

    done = rnncheck_command("verify", tmp_path / f"model{suffix}")

    assert done.code == 2
    assert "got a pickle, which can run any code when it is read; expected .safetensors or .npz" in done.err


@pytest.mark.parametrize("content", [b"no archive", b"", b"PK\x03\x04 cut off"])
def test_archives_that_cannot_be_read_are_refused(content, tmp_path, rnncheck_command):
    (tmp_path / "model.npz").write_bytes(content)

    done = rnncheck_command("show", tmp_path / "model.npz")

    assert (done.code, "it cannot be read (" in done.err, "Traceback" in done.err) == (2, True, False)


def test_other_mistakes_are_told(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="there is no such file; expected the weights of a module"):
        rnncheck.extract(tmp_path / "none.safetensors")
    save_file({"a": torch.ones(2).bfloat16()}, tmp_path / "half.safetensors")
    with pytest.raises(InputError, match=r"float16, float32, float64"):
        rnncheck.extract(tmp_path / "half.safetensors")
    with pytest.raises(InputError, match=re.escape("'a': got bfloat16 numbers; expected float16, float32, float64")):
        rnncheck.extract({"a": torch.ones(2).bfloat16()})
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(InputError, match="got no weights; expected those of a module"):
        rnncheck.extract(tmp_path / "empty.safetensors")
    monkeypatch.setattr(state_dict, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="Run: pip install safetensors"):
        rnncheck.extract(tmp_path / "half.safetensors")
