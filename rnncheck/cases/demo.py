"""The files of the demo: a model, inputs, and what a right and a wrong port of it computed."""

from __future__ import annotations

from pathlib import Path

from rnncheck.errors import InputError

_FILES = Path(__file__).parents[1] / "demo"


def write_demo(folder: Path) -> None:
    """Write the files of the demo into a folder, which is made if it is not there.

    Raises:
        InputError: the folder cannot be written, or has a file of such a name and another content.
    """
    files = {path.name: path.read_bytes() for path in _FILES.iterdir() if path.is_file()}
    try:
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            path = folder / name
            if path.exists() and path.read_bytes() != content:
                raise InputError(
                    f"{path}: got a file that is there already; expected none of this name. Name another folder, "
                    "--into FOLDER, or remove the file."
                )
            path.write_bytes(content)
    except OSError as error:
        raise InputError(
            f"{folder}: got an error while writing ({error.strerror}); expected the name of a new folder. Name "
            "another, --into FOLDER."
        ) from error
