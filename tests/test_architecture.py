"""What may import what, what starts fast, and what the package offers."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path
from types import ModuleType

import pytest

import rnncheck

FOLDER = Path(rnncheck.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(FOLDER).with_suffix("").parts).removesuffix(".__init__")
    for path in FOLDER.rglob("*.py")
    if path.parent.name != "demo"  # which is data
)


def source(module):
    path = FOLDER.joinpath(*module.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()


def public_definitions(module):
    """Yield name and docstring of every public function, class and method of a module."""

    def definitions(body, prefix):
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_":
                yield prefix + node.name, ast.get_docstring(node)
                if isinstance(node, ast.ClassDef):
                    yield from definitions(node.body, f"{prefix}{node.name}.")

    yield from definitions(ast.parse(source(module)).body, "")


def loaded_by(code):
    """Return the top-level modules that a fresh interpreter has loaded after some code."""
    script = f"{code}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


HEAVY = {"tensorflow", "keras", "jax", "torch", "onnx", "onnxruntime", "pandas", "rich", "h5py", "loky"}


def test_import_loads_nothing_heavy():
    loaded = loaded_by("import rnncheck")

    assert loaded & HEAVY == set()
    assert "numpy" in loaded


@pytest.mark.parametrize(
    "words", [["--help"], ["verify", "--help"], ["--version"], ["verify", "-N", "0"]], ids=" ".join
)
def test_command_that_runs_nothing_loads_nothing_heavy(words):
    loaded = loaded_by(
        f"""
import contextlib, io, sys
from rnncheck.cli import main
sys.argv = ["rnncheck", *{words!r}]
with contextlib.suppress(SystemExit), contextlib.redirect_stderr(io.StringIO()):
    main()
"""
    )

    assert loaded & HEAVY == set()
    assert "click" in loaded


def test_all_is_the_public_surface():
    public = {name for name, value in vars(rnncheck).items() if name[0] != "_" and not isinstance(value, ModuleType)}

    assert sorted(public | {"__version__"}) == sorted(rnncheck.__all__)


def test_all_names_nothing_twice():
    assert len(rnncheck.__all__) == len(set(rnncheck.__all__))


def test_public_functions_are_not_hidden_by_modules_of_their_name():
    for module in pkgutil.iter_modules(rnncheck.__path__):
        if module.name != "__main__":
            importlib.import_module(f"rnncheck.{module.name}")

    assert [name for name in rnncheck.__all__ if isinstance(getattr(rnncheck, name), ModuleType)] == []


def test_package_says_that_it_is_typed():
    assert resources.files("rnncheck").joinpath("py.typed").is_file()


def test_version_is_the_installed_one():
    assert rnncheck.__version__ == metadata.version("rnncheck")


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_has_a_docstring(module):
    assert ast.get_docstring(ast.parse(source(module)))
    assert [name for name, docstring in public_definitions(module) if not docstring] == []


def test_metadata_names_licence_and_python():
    found = metadata.metadata("rnncheck")

    assert found["License-Expression"] == "MIT"
    assert found["Requires-Python"] == ">=3.11"


# --- what is refused ---


REFUSALS = {"InputError", "UnsupportedError", "BadParameter", "unsupported", "invalid"}
PASSED_ON = {"error", "refusal", "problem", "said"}  # what they hold was said whole where it was found


def refusals(module):
    """Yield line and text of every refusal in a module, with what its names stand for, and those passed on."""
    tree = ast.parse(source(module))
    assigned = [
        (name.id, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and node.value
        for target in getattr(node, "targets", [getattr(node, "target", None)])
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    ]
    for node in ast.walk(tree):
        called = isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", ""))
        if called in REFUSALS and node.args:
            parts, known = [node.args[0]], set()
            for part in parts:
                names = {each.id for each in ast.walk(part) if isinstance(each, ast.Name)} - known
                parts += [value for name, value in assigned if name in names]
                known |= names
            text = "".join(each.value for part in parts for each in ast.walk(part) if is_text(each))
            yield node.lineno, text, known & PASSED_ON - {name for name, _ in assigned if name == "said"}


def is_text(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@pytest.mark.parametrize("module", MODULES)
def test_refusal_says_what_was_expected(module):
    silent = [line for line, text, passed_on in refusals(module) if "expected" not in text and not passed_on]

    assert silent == []


def test_refusals_are_found():
    found = [line for module in MODULES for line, _, passed_on in refusals(module) if not passed_on]

    assert len(found) > 150
