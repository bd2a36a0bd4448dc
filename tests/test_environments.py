"""The wheel in environments of its own: without extras, with the oldest versions, the newest, and with JAX alone."""

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from experiments.locks import ROOT, floors, project

pytestmark = pytest.mark.long

DEMO = ROOT / "rnncheck" / "demo"
PORT = ["--outputs", DEMO / "outputs.csv", "--states", DEMO / "states.csv"]
SINE = [DEMO / "sine.keras", "--inputs", DEMO / "inputs.npy"]
MEGABYTE = 1e6
NOBODY = 65534

# An LSTM of 64 units over 8 samples of 200 steps: 102,400 numbers of states.
LARGE = """
import numpy as np
import rnncheck
from rnncheck import Activation, InputSpec, Layer, Network, Tensor

rng = np.random.default_rng(0)
draw = lambda *shape: (rng.normal(size=shape) / 8).astype(np.float32)
options = dict.fromkeys(["go_backwards", "stateful", "return_state", "zero_output_for_mask"], False)
options |= {"units": 64, "use_bias": True, "return_sequences": True}
options |= {"activation": Activation("tanh"), "recurrent_activation": Activation("sigmoid")}
weights = {"kernel": draw(3, 256), "recurrent_kernel": draw(64, 256), "bias": draw(256)}
lstm = Layer("lstm", "LSTM", (Tensor("inputs"),), options, weights)
network = Network("large", (InputSpec("inputs", (200, 3), "float32"),), (lstm,), (Tensor("lstm"),))
inputs = rng.normal(size=(8, 200, 3)).astype(np.float32)
expected = rnncheck.replay(network, inputs, every_step=True)
states = expected.sequences["lstm"].astype(np.float32)
report = rnncheck.compare(network, inputs, expected.outputs[0].astype(np.float32), states=states)
assert report.verdict == rnncheck.Verdict.MATCH, report
assert report.to_frame().shape[0] == 2
assert report._repr_html_().startswith("<")
print(states.size, report.verdict.value)
"""


def another_user():
    """Return what makes a process nobody's: nothing when this is not root, or only root may run this Python."""
    nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    try:
        subprocess.run([sys.executable, "-c", ""], cwd="/", check=True, **nobody)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return nobody


USER = another_user()


class Environment:
    """A virtual environment with the wheel. Commands run outside the checkout, as nobody where this is root."""

    def __init__(self, folder):
        self.folder = folder
        self.home = folder / "home"
        self.python = folder / "bin" / "python"

    def run(self, *words, **more):
        env = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE", "KERAS"))
        }
        env |= {"HOME": str(self.home), **more}
        words = [str(word) for word in words]
        return subprocess.run(words, cwd=self.home, env=env, capture_output=True, text=True, check=False, **USER)

    def rnncheck(self, *words, **more):
        return self.run(self.python, "-m", "rnncheck", *words, **more)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT], check=True)
    (path,) = folder.glob("rnncheck-*.whl")
    return path


@pytest.fixture(scope="module")
def install(wheel):
    """Return a function that installs the wheel with extras into an environment, which is removed at the end."""
    folders = []

    def installed(extras="", constraints=()):
        folder = Path(tempfile.mkdtemp())
        folders.append(folder)
        folder.chmod(0o755)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        environment = Environment(folder)
        (folder / "constraints.txt").write_text("\n".join(constraints))
        packages = [f"{wheel}{extras}", "-c", folder / "constraints.txt"]
        subprocess.run([environment.python, "-m", "pip", "install", "-q", *packages], check=True)
        environment.home.mkdir()
        if USER:
            os.chown(environment.home, USER["user"], USER["group"])
        return environment

    yield installed
    for folder in folders:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def light(install):
    return install()


def version(environment, package):
    shown = environment.run(
        environment.python, "-c", f"import importlib.metadata as m; print(m.version('{package}'))"
    )
    return shown.stdout.strip()


def test_light_install_is_small(light):
    size = sum(path.stat().st_size for path in light.folder.rglob("*") if path.is_file() and not path.is_symlink())
    assert size <= 220 * MEGABYTE, f"{size / MEGABYTE:.0f} MB"


def test_light_install_compares_many_states_and_displays_the_report(light):
    large = light.run(light.python, "-c", LARGE)
    assert (large.returncode, large.stdout) == (0, "102400 match\n"), large.stderr


def test_light_install_compares_and_shows_files(light):
    compared = light.rnncheck("compare", *SINE, *PORT, "--json", "sine.json", "--csv", "sine.csv")
    assert compared.returncode == 0, compared.stderr
    assert compared.stdout.startswith("MATCH  sine.keras: all 3,088 numbers agree")
    assert json.loads((light.home / "sine.json").read_text())["cases"][0]["verdict"] == "match"
    assert len(list(csv.reader((light.home / "sine.csv").read_text().splitlines()))) == 4

    walked = light.rnncheck("walk", *SINE)
    assert walked.returncode == 0, walked.stderr
    assert "the numbers are by hand alone. keras: got no such package" in " ".join(walked.stdout.split())

    shown = light.rnncheck("show", DEMO / "sine.keras")
    assert shown.returncode == 0, shown.stderr
    assert "1,169 parameters; outputs: next_value" in shown.stdout


def test_light_install_shows_the_demo(light):
    shown = light.rnncheck("demo")

    assert shown.returncode == 0, shown.stderr
    assert "\nMATCH  sine.keras: " in shown.stdout
    assert "\nMISMATCH  sine.keras: in layer 'lstm', the gates are read in the order" in shown.stdout
    assert (light.home / "rnncheck-demo" / "test_ports.py").exists()


@pytest.mark.parametrize("words", [["verify"], ["verify", *SINE], ["faults"]], ids=["grid", "model", "faults"])
def test_light_install_says_which_extra_a_command_needs(light, words):
    refused = light.rnncheck(*words)

    assert (refused.returncode, refused.stdout) == (2, "")
    assert 'pip install "rnncheck[tensorflow]"' in refused.stderr
    assert "Traceback" not in refused.stderr


def test_page_is_written_by_the_wheel_with_its_extra(light, install):
    light_refused = light.rnncheck("compare", *SINE, *PORT, "--html", "sine.html")
    drawing = install("[plot]")

    done = drawing.rnncheck("compare", *SINE, *PORT, "--html", "sine.html")

    assert light_refused.returncode == 2
    assert 'pip install "rnncheck[plot]"' in light_refused.stderr
    assert done.returncode == 0, done.stderr
    assert (drawing.home / "sine.html").read_text(encoding="utf-8").count("<svg") == 4


def test_grid_matches_with_the_oldest_versions_that_are_allowed(install):
    oldest = install("[tensorflow]", floors(project()))

    # The oldest TensorFlow convolves channels_first with oneDNN alone, which it leaves off on some processors.
    done = oldest.rnncheck("verify", TF_ENABLE_ONEDNN_OPTS="1")

    assert version(oldest, "keras") == "3.10.0"
    assert done.returncode == 0, done.stdout + done.stderr


def test_grid_matches_with_the_newest_versions_that_are_allowed(install):
    newest = install("[tensorflow]")

    done = newest.rnncheck("verify")

    assert done.returncode == 0, done.stdout + done.stderr


def test_grid_matches_with_jax_and_without_tensorflow(install):
    alone = install("[jax]")

    done = alone.rnncheck("verify", KERAS_BACKEND="jax")

    assert version(alone, "tensorflow") == ""
    assert done.returncode == 0, done.stdout + done.stderr
