"""Whether the lock files pin what pyproject.toml asks for, and the oldest versions that it allows.

python -m experiments.locks             refuse lock files that are out of step (part of `make check`)
python -m experiments.locks --floors    print the oldest allowed versions, as constraints for pip
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCKS = {"requirements.lock": ("tensorflow",), "requirements-dev.lock": ("all", "dev", "docs")}
_FRAMEWORKS = ("tensorflow", "jax", "torch")
_EXPORTS = ("onnx-export", "litert", "openvino")


def project(root: Path = ROOT) -> dict[str, Any]:
    """Return pyproject.toml's table about the package."""
    table: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return table


def requirements(table: dict[str, Any], extras: tuple[str, ...]) -> dict[str, Requirement]:
    """Return what the package and some of its extras require, by name."""
    lines = [*table["dependencies"], *(line for extra in extras for line in table["optional-dependencies"][extra])]
    return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, lines)}


def pins(lock: Path) -> dict[str, tuple[str, bool]]:
    """Return each package of a lock file with its version and whether pyproject.toml itself asked for it."""
    found = re.findall(r"^([\w.-]+)==(\S+)(.*(?:\n +#.*)*)", lock.read_text(), re.MULTILINE)
    return {canonicalize_name(name): (version, "(pyproject.toml)" in why) for name, version, why in found}


def out_of_step(root: Path = ROOT) -> list[str]:
    """Say what in the lock files and the extras does not fit pyproject.toml; nothing when all fits."""
    table = project(root)
    problems = []
    if requirements(table, ("all",)) != requirements(table, (*_FRAMEWORKS, *_EXPORTS, "plot")):
        problems.append(
            f"pyproject.toml: the extra `all` is not {', '.join((*_FRAMEWORKS, *_EXPORTS))} and plot together"
        )
    for name, extras in LOCKS.items():
        wanted = requirements(table, extras)
        pinned = pins(root / name)
        for package, requirement in wanted.items():
            version, _ = pinned.get(package, (None, False))
            if version is None or version not in requirement.specifier:
                problems.append(f"{name}: got {package} {version or 'nowhere'}; expected {requirement}")
        dropped = [package for package, (_, asked) in pinned.items() if asked and package not in wanted]
        problems += [f"{name}: got {package}, which pyproject.toml does not ask for" for package in dropped]
    main, dev = (pins(root / name) for name in LOCKS)
    apart = [package for package in main if main[package][0] != dev.get(package, (None,))[0]]
    return problems + [f"requirements-dev.lock: got another {package} than requirements.lock" for package in apart]


def floors(table: dict[str, Any]) -> list[str]:
    """Return a pin of the oldest allowed version for everything that the package and its frameworks require."""
    wanted = requirements(table, _FRAMEWORKS)
    oldest = ((name, spec.version) for name, r in wanted.items() for spec in r.specifier if spec.operator == ">=")
    return [f"{name}=={version}" for name, version in sorted(oldest)]


def main() -> int:
    """Print the floors, or what is out of step; the exit code says whether anything is."""
    if sys.argv[1:] == ["--floors"]:
        print(*floors(project()), sep="\n")
        return 0
    problems = out_of_step()
    if problems:
        print(*problems, "Run `make lock`.", sep="\n", file=sys.stderr)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
