"""The demo: files that are in the package, a match, a mismatch, and what to type next."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rnncheck.cases.demo import write_demo

ROOT = Path(__file__).parent.parent
FILES = {path.name: path.read_bytes() for path in (ROOT / "rnncheck" / "demo").iterdir() if path.is_file()}
TAKEN = "got a file that is there already; expected none of this name. Name another folder, --into FOLDER, or remove "


def test_demo_shows_a_match_then_a_mismatch_with_its_cause(rnncheck_command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    done = rnncheck_command("demo")

    match, mismatch = re.split(r"\nThe (?:right|wrong) port: ", done.out)[1:]
    assert (done.code, done.err) == (0, "")
    assert match.splitlines()[1].startswith("MATCH  sine.keras: all 3,088 numbers agree")
    assert mismatch.splitlines()[1] == (
        "MISMATCH  sine.keras: in layer 'lstm', the gates are read in the order i, o, f, c: ONNX's"
    )
    assert "sample 0, step 0, unit 0 of layer 'lstm', by the equations:" in mismatch
    assert {path.name: path.read_bytes() for path in (tmp_path / "rnncheck-demo").iterdir()} == FILES


def test_commands_that_the_demo_names_run_in_its_folder(rnncheck_command, monkeypatch, tmp_path):
    said = rnncheck_command("demo", "--into", tmp_path / "a").out
    monkeypatch.chdir(tmp_path / "a")

    named = re.findall(r"^(?:The \w+ port:| ) (rnncheck [^#\n]+)", said, re.MULTILINE)
    codes = [rnncheck_command(*shlex.split(words)[1:]).code for words in named if "verify" not in words]

    assert len(named) == 5
    assert codes == [0, 1, 1, 0]


def test_demo_runs_without_a_framework_outside_the_repository(tmp_path):
    code = "import sys; from rnncheck.cli import cli; cli(['demo'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert not {"keras", "tensorflow", "jax", "torch"} & set(done.stdout.splitlines()[-1].split())
    assert (tmp_path / "rnncheck-demo" / "sine.keras").exists()


def test_demo_may_run_again_and_overwrites_nothing_of_yours(rnncheck_command, tmp_path):
    write_demo(tmp_path)
    again = rnncheck_command("demo", "--into", tmp_path)
    (tmp_path / "outputs.csv").write_text("1\n")

    refused = rnncheck_command("demo", "--into", tmp_path)

    assert again.code == 0
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == f"rnncheck: {tmp_path}/outputs.csv: {TAKEN}the file.\n"
    assert (tmp_path / "outputs.csv").read_text() == "1\n"


@pytest.mark.parametrize(
    ("name", "problem"),
    [("missing/a", "No such file or directory"), ("file", "File exists"), ("file/a", "Not a directory")],
)
def test_folder_that_cannot_be_written_is_refused(rnncheck_command, tmp_path, name, problem):
    (tmp_path / "file").touch()

    done = rnncheck_command("demo", "--into", tmp_path / name)

    said = f"{tmp_path / name}: got an error while writing ({problem}); expected the name of a new folder."
    assert done == (2, "", f"rnncheck: {said} Name another, --into FOLDER.\n")


def test_model_of_keras_2_is_the_recorded_one():
    recorded = ROOT / "fixtures" / "keras2" / "2.15.1" / "lstm_hard_sigmoid.keras"

    assert FILES["keras2.keras"] == recorded.read_bytes()


def test_demo_is_small():
    assert sum(map(len, FILES.values())) < 200_000
