"""The lock files are held against pyproject.toml."""

import shutil

import pytest

from experiments.locks import LOCKS, ROOT, floors, main, out_of_step, project


@pytest.fixture
def copy(tmp_path):
    """A copy of pyproject.toml and both lock files, to break."""
    for name in ("pyproject.toml", *LOCKS):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_lock_files_pin_what_pyproject_asks_for():
    assert out_of_step() == []


def test_make_check_fails_and_says_the_command(copy, monkeypatch, capsys):
    replace(copy / "pyproject.toml", '"click>=', '"click>=9')
    monkeypatch.setattr("experiments.locks.out_of_step", lambda: out_of_step(copy))
    monkeypatch.setattr("sys.argv", ["locks"])

    assert main() == 1
    assert capsys.readouterr().err.endswith("\nRun `make lock`.\n")


def test_raised_floor_is_noticed_in_both(copy):
    replace(copy / "pyproject.toml", '"rich>=13.9"', '"rich>=99"')

    problems = out_of_step(copy)

    assert [problem.split(":")[0] for problem in problems] == list(LOCKS)
    assert all(problem.endswith("; expected rich>=99") for problem in problems)


def test_new_requirement_is_noticed(copy):
    replace(copy / "pyproject.toml", "docs = [", 'docs = ["numpydoc>=1.8", ')

    assert out_of_step(copy) == ["requirements-dev.lock: got numpydoc nowhere; expected numpydoc>=1.8"]


def test_dropped_requirement_is_noticed(copy):
    replace(copy / "pyproject.toml", '    "hypothesis>=6.100",\n', "")

    assert out_of_step(copy) == ["requirements-dev.lock: got hypothesis, which pyproject.toml does not ask for"]


def test_framework_missing_from_all_is_noticed(copy):
    replace(
        copy / "pyproject.toml",
        'all = [\n    "ai-edge-litert>=1.2", "jax>=0.6", ',
        'all = [\n    "ai-edge-litert>=1.2", ',
    )

    extras = "tensorflow, jax, torch, onnx-export, litert, openvino and plot"
    assert out_of_step(copy)[0] == f"pyproject.toml: the extra `all` is not {extras} together"


def test_lock_files_apart_are_noticed(copy):
    replace(copy / "requirements.lock", "\nwrapt==", "\nwrapt==0.")

    assert out_of_step(copy) == ["requirements-dev.lock: got another wrapt than requirements.lock"]


def test_floors_are_the_oldest_allowed_versions():
    found = floors(project())

    assert "pandas==2.2.2" in found
    assert "keras==3.10" in found
    assert "jax==0.6" in found
    assert not any(pin.startswith("pytest") for pin in found)


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_files_name_no_host_and_no_build(lock):
    text = (ROOT / lock).read_text()

    assert "://" not in text
    assert "+cpu" not in text
