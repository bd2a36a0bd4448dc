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
)

# What makes the replay independent: these may use NumPy, the standard library and each other.
INDEPENDENT = (
    "equations",
    "rounding",
    "replay",
    "blocks",
    "comparator",
    "network",
    "activations",
    "precision",
    "observed",
    "looks",
    "steps",
    "end_to_end",
    "recording",
    "layers",
    "convolution",
    "normalization",
    "products",
    "stacked",
    "variants",
    *(module for module in MODULES if module.startswith("faults")),
)
# What knows a framework, or how models are made for it.
DEPENDENT = {
    "builder", "case", "cli", "combinations", "environment", "extractor", "grid", "random_case", "rebuild", "render",
    "runner", "selftest", "verify",
}  # fmt: skip


def source(module):
    path = FOLDER.joinpath(*module.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()


def imported(module):
    """Return the full names of all that a module imports, wherever in it the import stands; not for types alone."""
    names = set()
    tree = ast.parse(source(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def reached(module):
    """Return the modules of the package that a module imports, and those that they import, and so on."""
    found, waiting = set(), [module]
    while waiting:
        for name in imported(waiting.pop()):
            package, _, rest = name.partition(".")
            inner = next(
                (".".join(rest.split(".")[:k]) for k in (2, 1) if ".".join(rest.split(".")[:k]) in MODULES), rest
            )
            if package == "rnncheck" and inner not in found:
                assert inner in MODULES, f"{name} is no module of the package"
                found.add(inner)
                waiting.append(inner)
    return found


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


@pytest.mark.parametrize("module", INDEPENDENT)
def test_independent_module_reaches_no_module_that_knows_a_framework(module):
    assert reached(module) & DEPENDENT == set()


@pytest.mark.parametrize("module", INDEPENDENT)
def test_independent_module_reaches_numpy_its_compiler_and_the_standard_library_only(module):
    everything = set().union(*(imported(name) for name in {module, *reached(module)}))
    packages = {name.split(".")[0] for name in everything}

    # Numba compiles loops of rnncheck's own: those of the first look, and tanh where NumPy's is slow.
    allowed = {"numpy", "rnncheck", "numba"} if "kernels" in {module, *reached(module)} else {"numpy", "rnncheck"}
    assert packages - set(sys.stdlib_module_names) <= allowed


@pytest.mark.parametrize("module", ["rounding", "products"])
def test_exact_arithmetic_does_without_compiled_loops(module):
    assert "kernels" not in {module, *reached(module)}


def test_reached_modules_are_followed_through_others():
    assert "accuracy" not in {name.split(".")[1] for name in imported("steps") if name.startswith("rnncheck.")}
    assert "accuracy" in reached("steps")
    assert "builder" in reached("cli")


def test_extractor_and_replay_share_no_helper():
    plain_data = {"network", "errors"}
    tables = {"activations", "accuracy", "precision", "rounding", "thresholds"}
    below_the_tables = {"kernels", "stacked"}  # the extractor asks for the activations' names

    assert reached("extractor") & reached("replay") <= plain_data | tables | below_the_tables


FRAMEWORKS = {"tensorflow", "keras", "jax", "torch", "onnx", "pandas", "rich", "matplotlib"}


def test_import_loads_no_framework():
    loaded = loaded_by("import rnncheck")

    assert loaded & FRAMEWORKS == set()
    assert "numpy" in loaded


@pytest.mark.parametrize(
    "words", [["--help"], ["verify", "--help"], ["--version"], ["verify", "-N", "0"]], ids=" ".join
)
def test_command_that_runs_nothing_loads_no_framework(words):
    loaded = loaded_by(
        f"""
import contextlib, io, sys
from rnncheck.cli import main
sys.argv = ["rnncheck", *{words!r}]
with contextlib.suppress(SystemExit), contextlib.redirect_stderr(io.StringIO()):
    main()
"""
    )

    assert loaded & FRAMEWORKS == set()
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
