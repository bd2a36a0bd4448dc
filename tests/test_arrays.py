"""Inputs from files: `.npy`, `.npz` and `.csv`, and what is refused in them."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from rnncheck import InputError, InputSpec, Network
from rnncheck.cases.array_files import read_arrays, taken_for_granted

ADVICE = "Write it with numpy.save, numpy.savez, numpy.savetxt(..., delimiter=',') or as JSON."


def network(*shapes):
    return Network("n", tuple(InputSpec(f"x{k}", shape, "float32") for k, shape in enumerate(shapes)), (), ())


STEPS = "one for each step of input 'x0', which has shape (N, 4, 3), with 3 numbers in it."
ONE = network((4, 3))
TWO = network((4, 3), (2,))


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)


def refusal(path, of=ONE):
    with pytest.raises(InputError) as refused:
        read_arrays(path, of.inputs)
    where, message = str(refused.value).split(": ", 1)
    assert where == str(path)
    return message


@pytest.mark.parametrize("dtype", ["float32", ">f8", "float16", "int64", "uint8", "bool"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_is_read_as_it_is(tmp_path, x, dtype, order):
    array = np.asarray(x.astype(dtype), order=order)
    np.save(tmp_path / "x.npy", array)

    found = read_arrays(tmp_path / "x.npy", ONE.inputs)

    np.testing.assert_array_equal(found, array, strict=True)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)], ids=str)
def test_npy_of_every_version_is_read(tmp_path, x, version):
    with (tmp_path / "x.NPY").open("wb") as file:
        np.lib.format.write_array(file, x, version)

    np.testing.assert_array_equal(read_arrays(tmp_path / "x.NPY", ONE.inputs), x, strict=True)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed], ids=["stored", "packed"])
def test_npz_is_read_by_name(tmp_path, x, write):
    write(tmp_path / "x.npz", x1=x[:, 0, :2], x0=x)

    found = read_arrays(tmp_path / "x.npz", TWO.inputs)

    assert set(found) == {"x0", "x1"}
    np.testing.assert_array_equal(found["x0"], x)
    np.testing.assert_array_equal(found["x1"], x[:, 0, :2])


def test_only_array_for_the_only_input_may_have_any_name(tmp_path, x):
    np.savez(tmp_path / "x.npz", x)

    np.testing.assert_array_equal(read_arrays(tmp_path / "x.npz", ONE.inputs), x)


def test_several_arrays_for_one_input_keep_their_names(tmp_path, x):
    np.savez(tmp_path / "x.npz", a=x, x0=x)

    assert set(read_arrays(tmp_path / "x.npz", ONE.inputs)) == {"a", "x0"}


NUMBERS = np.arange(1.0, 25.0)

TABLES = {
    "steps": ((4, 3), (8, 3), (2, 4, 3)),
    "open-steps": ((None, 3), (8, 3), (1, 8, 3)),
    "images": ((2, 2, 3), (8, 3), (2, 2, 2, 3)),
    "open-images": ((None, 2, 3), (8, 3), (1, 4, 2, 3)),
    "features": ((3,), (8, 3), (8, 3)),
    "ids-of-open-length": ((None,), (4, 6), (4, 6)),
    "one-number": ((), (24, 1), (24,)),
    "open-features": ((4, None), (8, 3), (2, 4, 3)),
}


@pytest.mark.parametrize(("shape", "lines", "expected"), TABLES.values(), ids=TABLES)
def test_lines_of_csv_become_samples_and_steps(tmp_path, shape, lines, expected):
    np.savetxt(tmp_path / "x.csv", NUMBERS.reshape(lines), delimiter=",")

    found = read_arrays(tmp_path / "x.csv", network(shape).inputs)

    np.testing.assert_array_equal(found, NUMBERS.reshape(expected), strict=True)


HEADS = {
    "none": "",
    "words": "a,b,c\n",
    "words-and-numbers": "time 1,time 2,time 3\n",
    "signs": "x,-y,2nd\n",
    "numbered": "step,#1,#2\n",
    "quoted": '"a","b","c"\n',
    "comments": "# a\n# b\n",
    "mark": "\ufeff",
    "mark-and-words": "\ufeffä,b,c\n",
    "empty-lines": "\n\n",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
def test_header_of_csv_is_left_out(tmp_path, head, end):
    lines = [" 1, 2.5,-3e-1", "4,5,6", "7,8,9", "+1,.5,0", ""]
    (tmp_path / "x.csv").write_bytes((head + end.join(lines)).encode())

    found = read_arrays(tmp_path / "x.csv", ONE.inputs)

    np.testing.assert_array_equal(found, [[[1, 2.5, -0.3], [4, 5, 6], [7, 8, 9], [1, 0.5, 0]]])


def test_numbers_that_are_not_finite_are_read_and_left_to_the_check_of_inputs(tmp_path):
    (tmp_path / "x.csv").write_text("nan,inf,-inf\n1,2,3\n1,2,3\n1,2,3\n")

    found = read_arrays(tmp_path / "x.csv", ONE.inputs)

    np.testing.assert_array_equal(found[0, 0], [np.nan, np.inf, -np.inf])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,3\n4,5\n", "got 2 numbers on line 2; expected 3, as on the lines before."),
        ("a,b,c\n1,2,3\n\n4,5,6,7\n", "got 4 numbers on line 4; expected 3, as on the lines before."),
        ("1,2,3\n4,five,6\n", "got 'five' on line 2; expected numbers with commas between them."),
        ("1,2,3\n4,,6\n", "got '' on line 2; expected numbers with commas between them."),
        ("1,2,x\n", "got 'x' on line 1; expected numbers with commas between them."),
        ("a,b\nc,d\n", "got 'c' on line 2; expected numbers with commas between them."),
        ("1;2;3\n4;5;6\n", "got '1;2;3' on line 1; expected numbers with commas between them."),
        ("1 2 3\n", "got '1 2 3' on line 1; expected numbers with commas between them."),
        ("", "got no line of numbers; expected numbers with commas between them."),
        ("a,b,c\n", "got no line of numbers; expected numbers with commas between them."),
        (
            "1,2,3\n" * 6,
            f"got 6 lines; expected a multiple of 4, {STEPS}",
        ),
    ],
    ids=[
        "short-line", "long-line", "word", "gap", "word-in-the-first-line", "two-headers", "semicolons", "blanks",
        "empty", "header-alone", "steps",
    ],
)  # fmt: skip
def test_csv_that_is_no_table_of_numbers_is_refused(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)

    assert refusal(tmp_path / "x.csv") == message


@pytest.mark.parametrize("shape", [(None, 4, 3), (None, None, 3)], ids=["open-steps", "two-open-axes"])
def test_csv_that_cannot_be_cut_into_steps_is_refused(tmp_path, shape):
    (tmp_path / "x.csv").write_text("1,2,3\n" * 6)

    assert refusal(tmp_path / "x.csv", network(shape)).startswith("got 6 lines; expected a multiple of ")


def test_csv_for_several_inputs_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("1,2,3\n")

    assert refusal(tmp_path / "x.csv", TWO) == (
        "got a .csv file, which holds one array, for 2 inputs; expected .npz or .json."
    )


@pytest.mark.parametrize(
    ("words", "number"),
    [
        (["nan", "NaN", "-nan", "nan(0x8000)", "-nan(ind)", "NaNQ", "1.#QNAN", "-1.#IND00", "1.#QNAN0e+000"], np.nan),
        (["inf", "1.#INF", "Infinity", "1.#INF00", "1.#INF00e+000"], np.inf),
        (["-inf", "-1.#INF"], -np.inf),
    ],
    ids=["nan", "infinity", "minus infinity"],
)
def test_numbers_that_are_none_are_read_as_c_writes_them(tmp_path, words, number):
    (tmp_path / "x.csv").write_text("\n".join(words))

    found = read_arrays(tmp_path / "x.csv", network((1,)).inputs)

    np.testing.assert_array_equal(found, np.full((len(words), 1), number))


@pytest.mark.parametrize("word", ["oops", "1_0", "#NUM!", "#DIV/0!", "1.#JUNK", "nan(a b)"])
def test_word_in_the_first_line_of_numbers_is_no_header(tmp_path, word):
    (tmp_path / "x.csv").write_text(f"{word},2,3\n" + "1,2,3\n" * 4)

    assert refusal(tmp_path / "x.csv") == f"got {word!r} on line 1; expected numbers with commas between them."


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("x.csv", (None, 3), True),
        ("x.CSV", (None, 2, 3), True),
        ("x.csv", (4, 3), False),
        ("x.csv", (None,), False),
        ("x.npy", (None, 3), False),
    ],
)
def test_what_a_file_does_not_say_is_said(name, shape, said):
    note = taken_for_granted(Path(name), network(shape).inputs)

    assert note.startswith(f"{name}: its lines were read as the steps of one sample") == said
    assert bool(note) == said


def test_file_with_two_arrays_in_a_row_is_refused(tmp_path):
    with (tmp_path / "x.npy").open("wb") as file:
        np.save(file, NUMBERS)
        np.save(file, NUMBERS)

    assert refusal(tmp_path / "x.npy").endswith("follow; expected one whole array.")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_name_that_is_there_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for _ in range(2):
            content = io.BytesIO()
            np.save(content, NUMBERS)
            archive.writestr("a.npy", content.getvalue())
    (tmp_path / "x.json").write_text('{"a": [1], "a": [2]}')

    assert refusal(tmp_path / "x.npz") == "got array 'a' twice; expected every name once."
    assert refusal(tmp_path / "x.json") == "got 'a' twice; expected every name once."


def test_saved_bfloat16_is_refused_with_a_way_out(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 4, 3), "V2"))

    assert refusal(tmp_path / "x.npy") == (
        "got values of two bytes that NumPy does not know, as bfloat16 is saved; expected numbers. Save "
        "array.astype('float32'), which holds every bfloat16."
    )


def test_truth_among_numbers_is_refused(tmp_path):
    (tmp_path / "x.json").write_text("[[[1, true, 3]]]")

    assert refusal(tmp_path / "x.json") == "got true or false among numbers; expected nested lists of numbers."


def test_integer_beyond_those_of_numpy_is_a_number(tmp_path):
    (tmp_path / "x.json").write_text(f"[[[{10**25}, 1, -{10**25}]]]")

    np.testing.assert_array_equal(read_arrays(tmp_path / "x.json", ONE.inputs), [[[1e25, 1, -1e25]]])


def test_directory_is_refused_as_such(tmp_path):
    assert refusal(tmp_path) == "got a directory; expected .npy, .npz, .csv or .json with the inputs."


def test_csv_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("1,2,3\n", encoding="utf-16")

    assert refusal(tmp_path / "x.csv").startswith("it cannot be read (")


@pytest.mark.parametrize(
    ("name", "got"),
    [("x.txt", "a .txt file"), ("x", "a file without a suffix"), ("x.npy.gz", "a .gz file")],
    ids=["txt", "none", "gz"],
)
def test_file_of_another_kind_is_refused(tmp_path, name, got):
    (tmp_path / name).write_text("1,2,3\n")

    assert refusal(tmp_path / name) == f"got {got}; expected .npy, .npz, .csv or .json. {ADVICE}"


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".txt"])
def test_missing_file_is_refused(tmp_path, suffix):
    assert (
        refusal(tmp_path / f"x{suffix}")
        == "there is no such file; expected .npy, .npz, .csv or .json with the inputs."
    )


def test_name_that_is_too_long_is_refused(tmp_path):
    assert refusal(tmp_path / ("x" * 5000 + ".npy")).startswith("it cannot be read (")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize(
    "content", [b"", b"1,2,3\n", b"\x93NUMPY", b"PK\x03\x04"], ids=["empty", "text", "npy", "zip"]
)
def test_content_of_another_kind_is_refused(tmp_path, suffix, content):
    (tmp_path / f"x{suffix}").write_bytes(content)

    message = refusal(tmp_path / f"x{suffix}")

    assert message.startswith("it cannot be read (")
    assert message.endswith(f"); expected an array of numbers. {ADVICE}")


def test_archive_without_arrays_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w"):
        pass

    assert refusal(tmp_path / "x.npz") == f"got no array; expected one for each input. {ADVICE}"


def npy(header, content=b"\0" * 96):
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


def described(descr="'<f4'", shape="(2, 4, 3)"):
    return npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}")


def test_header_written_here_is_one_that_numpy_reads(tmp_path):
    (tmp_path / "x.npy").write_bytes(described())

    np.testing.assert_array_equal(
        read_arrays(tmp_path / "x.npy", ONE.inputs), np.zeros((2, 4, 3), np.float32), strict=True
    )


@pytest.mark.parametrize(
    ("shape", "declared"),
    [("(3, 4, 3)", 144), ("(4611686018427387904, 4, 3)", 2**62 * 48), ("(2, 4, 4)", 128)],
    ids=["one-more", "absurd", "wider"],
)
def test_header_that_declares_more_than_the_file_holds_is_refused(tmp_path, shape, declared):
    (tmp_path / "x.npy").write_bytes(described(shape=shape))

    assert refusal(tmp_path / "x.npy") == (
        f"the header declares {declared} bytes for shape {shape}, but 96 follow; expected one whole array."
    )


def test_header_of_an_array_in_an_archive_is_checked_too(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x0.npy", described(shape="(3, 4, 3)"))

    assert refusal(tmp_path / "x.npz") == (
        "array 'x0': the header declares 144 bytes for shape (3, 4, 3), but 96 follow; expected one whole array."
    )


@pytest.mark.parametrize(
    ("descr", "shape"),
    [
        ("'<f4'", "(-1,)"),
        ("'<f4'", f"({2**70}, 0)"),
        ("'<f4'", "('a', 2)"),
        ("'<f4'", "5"),
        ("'<f4'", "__import__('os')"),
        ("'|S0'", f"({2**70},)"),
        ("'nothing'", "(2,)"),
        ("None", "'a'"),
        ("[('a',)]", "(2,)"),
        ("'|O'", "(2,)"),
        ("[('a', '|O')]", "(2,)"),
    ],
    ids=[
        "negative", "overflow", "words", "no-tuple", "code", "no-size", "unknown-dtype", "nothing", "fields",
        "objects", "objects-in-fields",
    ],
)  # fmt: skip
def test_header_that_numpy_would_not_write_is_refused(tmp_path, descr, shape):
    (tmp_path / "x.npy").write_bytes(described(descr, shape))

    assert refusal(tmp_path / "x.npy")


@pytest.mark.parametrize("header", ["(" * 5000, "{" * 5000, "'''", " x\n  y\n z", ""], ids=len)
def test_header_that_is_no_description_is_refused(tmp_path, header):
    (tmp_path / "x.npy").write_bytes(npy(header))

    assert refusal(tmp_path / "x.npy").startswith("it cannot be read (")


def test_encrypted_archive_is_refused(tmp_path, x):
    np.savez(tmp_path / "x.npz", x0=x)
    content = bytearray((tmp_path / "x.npz").read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # where the flags are
        content[content.index(mark) + place] |= 1
    (tmp_path / "x.npz").write_bytes(content)

    assert "encrypted" in refusal(tmp_path / "x.npz")


def test_archive_that_declares_more_than_it_holds_is_refused(tmp_path, x):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x0=x)
    content = buffer.getvalue()
    size = (128 + x.nbytes).to_bytes(4, "little")
    assert size in content
    (tmp_path / "x.npz").write_bytes(content.replace(size, (2**26).to_bytes(4, "little")))

    assert refusal(tmp_path / "x.npz") == (
        f"array 'x0': the archive declares {2**26} bytes, but {128 + x.nbytes} follow; expected a whole file."
    )


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_truncated_file_is_refused_wherever_it_ends(tmp_path, x, suffix):
    path = tmp_path / f"x{suffix}"
    np.save(path, x) if suffix == ".npy" else np.savez_compressed(path, x0=x)
    content = path.read_bytes()

    for end in range(0, len(content), 3):
        path.write_bytes(content[:end])
        assert refusal(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_damaged_file_is_read_or_refused(tmp_path, x, suffix):
    path, rng = tmp_path / f"x{suffix}", np.random.default_rng(0)
    np.save(path, x) if suffix == ".npy" else np.savez_compressed(path, x0=x)
    content = path.read_bytes()
    refused = 0

    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.integers(min(len(content), 130))] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read_arrays(path, ONE.inputs)
        except InputError:
            refused += 1

    assert refused > 100
