"""Arrays from files: `.npy`, `.npz`, `.csv` and raw binary, and what is refused in them."""

import io
import os
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from rnncheck import InputError, InputSpec, Network
from rnncheck.cases.array_files import read_arrays, taken_for_granted

ADVICE = "Write it with numpy.save, numpy.savez, numpy.savetxt(..., delimiter=',') or as JSON."


def network(*shapes):
    return Network("n", tuple(InputSpec(f"x{k}", shape, "float32") for k, shape in enumerate(shapes)), (), ())


INPUT = "input 'x0', which has shape (N, 4, 3)"
EVERY_STEP = "with 3 numbers in it. Write every step of every sample, those of the first sample first."
PIPE = "got a pipe or a device; expected .npy, .npz, .csv or .json with the inputs. Save it to a file first."
AS_BEFORE, AS_MANY = "expected 3, as on the lines before.", "Write as many on every line."
INTERRUPTED = "It is the last line: was writing the file interrupted? Write it again."
WRITE = "Write decimal points, and commas, semicolons, tabs or blanks between numbers."
ALL_THERE = "It may have all numbers: write so many on each line."
CUT_OFF = f"Was writing it interrupted? {ADVICE}"
DECIMAL_COMMAS = f"Its numbers look as if they had decimal commas. {WRITE}"
FOUR = f"got 4 numbers on each line; expected 3 for {INPUT}."
INDEX = "The first column looks like an index, or the time: write the file without; pandas: index=False."
INDEX_HEADER = (
    "whose first column looks like an index; expected numbers alone. Write it without: pandas does with index=False, "
    "header=False."
)
HEADER = (
    f"got '0,1,2' on its first line; expected numbers of {INPUT}. It looks like a header: write the "
    "file without, as pandas does with header=False."
)
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
        ("1,2,3\n4,5\n6,7,8", f"got 2 numbers on line 2; {AS_BEFORE} {AS_MANY}"),
        ("a,b,c\n1,2,3\n\n4,5,6,7\n", f"got 4 numbers on line 4; {AS_BEFORE} {AS_MANY}"),
        ("1,2,3\n4,5\n", f"got 2 numbers on line 2; {AS_BEFORE} {INTERRUPTED}"),
        ("1,2,3\n4,5,", f"got 2 numbers on line 2; {AS_BEFORE} {INTERRUPTED}"),
        ("1,2,3\n4,5,-", f"got '-' on line 2; expected a number. {INTERRUPTED}"),
        ("1,2,3\n4,5,6.1e", f"got '6.1e' on line 2; expected a number. {INTERRUPTED}"),
        ("1,2,3\n4,five,6\n", f"got 'five' on line 2; expected a number. {WRITE}"),
        ("1,2,3\n4,,6\n", f"got '' on line 2; expected a number. {WRITE}"),
        ("1,2,x\n", f"got 'x' on line 1; expected a number. {WRITE}"),
        ("a,b\nc,d\n", f"got 'c' on line 2; expected a number. {WRITE}"),
        ("0,5\t1,5\t2,5\n", f"got '5\\t1' on line 1; expected a number. {WRITE}"),
        ("0,5;1.5;2,5\n", f"got '0,5' on line 1; expected a number. {WRITE}"),
        ("# nothing\n", f"got no line of numbers; expected one for each step or sample. {WRITE}"),
        ("a,b,c\n", f"got no line of numbers; expected one for each step or sample. {WRITE}"),
        (
            "1,2,3\n" * 6,
            f"got 6 lines; expected a multiple of 4, one for each step of {INPUT}, {EVERY_STEP}",
        ),
        (",a,b,c\n0,1,2,3\n", f"got the header ',a,b,c', {INDEX_HEADER}"),
        (",0,1,2\n0,1,2,3\n", f"got the header ',0,1,2', {INDEX_HEADER}"),
        ('"","V1","V2"\n"1",1,2\n', f"got the header '\"\",\"V1\",\"V2\"', {INDEX_HEADER}"),
        ("step,0,1,2\n0,1,2,3\n", f"got the header 'step,0,1,2', {INDEX_HEADER}"),
        ("0,1,2,3\n1,4,5,6\n2,4,5,6\n3,4,5,6\n", f"{FOUR} {INDEX}"),
        ("step,a,b,c\n0,1,2,3\n1,4,5,6\n0,4,5,6\n1,4,5,6\n", f"{FOUR} {INDEX}"),
        ("0,.1,.2,.3\n.05,.4,.5,.6\n.1,.4,.5,.6\n.15,.4,.5,.6\n", f"{FOUR} {INDEX}"),
        ("5,1,2,3\n2,4,5,6\n7,4,5,6\n3,4,5,6\n", f"{FOUR} Write as many on each line."),
        (".1\n" * 24, f"got 1 numbers on each line; expected 3 for {INPUT}. {ALL_THERE}"),
        (".1,2,3,1,2,3\n" * 4, f"{FOUR.replace('4', '6', 1)} {ALL_THERE}"),
        ("0,1,2\n" + "1,2,3\n" * 4, HEADER),
        ("\t0\t1\t2\n0\t1\t2\t3\n", f"got the header '0\\t1\\t2', {INDEX_HEADER}"),
        ("oops 2 3\n1 2 3\n", f"got 'oops' on line 1; expected a number. {WRITE}"),
        ("0,5,1,25,-2,5\n" * 4, f"{FOUR.replace('4', '6', 1)} {DECIMAL_COMMAS}"),
        ("5,2,3,4\n1,6,7,8\n9,1,2,3\n", f"{FOUR} It looks transposed: write array.T."),
    ],
    ids=[
        "short-line", "long-line", "cut-line", "cut-at-comma", "cut-at-sign", "cut-in-exponent", "word", "gap",
        "word-in-the-first-line", "two-headers", "decimal-commas-and-tabs", "decimal-commas-and-points", "comments",
        "header-alone", "steps", "index-and-names", "pandas", "r", "named-index", "index", "index-of-steps", "time",
        "column-too-many", "flat", "two-steps-a-line", "numeric-header", "pandas-with-tabs", "word-before-blanks",
        "decimal-commas", "transposed",
    ],
)  # fmt: skip
def test_csv_that_is_no_table_of_numbers_is_refused(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)

    assert refusal(tmp_path / "x.csv") == message


FORMS = {
    "semicolons": "1.5;2;3\n4;5;-6e-1\n",
    "decimal-commas": "1,5;2;3\r\n4;5;-6e-1",
    "tabs": "1.5\t2\t3\n4\t5\t-0.6\n",
    "blanks": "  1.5   2 3\n  4 5 -0.6  \n",
    "separator-behind": "1.5, 2, 3,\n4, 5, -0.6,\n",
    "quoted": '"1.5","2","3"\n"4","5","-0.6"\n',
    "header-of-r": "V1 V2 V3\n1.5 2 3\n4 5 -.6\n",
    "no-end": "1.5,2,3\n4,5,-0.6",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_text_that_can_mean_one_thing_is_read(tmp_path, text):
    text = text.replace("-6e-1", "-6e-1" if "." in text else "-0,6")
    (tmp_path / "x.csv").write_text(text)

    found = read_arrays(tmp_path / "x.csv", network((3,)).inputs)

    np.testing.assert_array_equal(found, [[1.5, 2, 3], [4, 5, -0.6]])


@pytest.mark.parametrize(
    "text", ["0,1,2\n2,1,0\n1,1,1\n", "0,1\n0.5,0.5\n", "0\n1\n"], ids=["ids", "two-columns", "one-column"]
)
def test_first_line_that_may_well_be_numbers_is_no_header(tmp_path, text):
    (tmp_path / "x.csv").write_text(text)
    columns = text.splitlines()[0].count(",") + 1

    found = read_arrays(tmp_path / "x.csv", network((columns,)).inputs)

    assert len(found) == text.count("\n")


def test_numeric_header_that_no_count_shows_is_seen_in_the_numbers(tmp_path):
    (tmp_path / "x.csv").write_text("0,1,2\n" + "1.5,2,3\n" * 3)

    assert read_arrays(tmp_path / "x.csv", ONE.inputs).shape == (1, 4, 3)  # as many lines as there are steps
    for shape in ((3,), (None, 3)):
        with pytest.raises(InputError, match=r"got '0,1,2' on its first line; .* It looks like a header"):
            read_arrays(tmp_path / "x.csv", network(shape).inputs)


@pytest.mark.parametrize("header", ["next value 1", "y 0", "y[0], scaled"])
def test_header_of_one_column_may_have_several_words(tmp_path, header):
    (tmp_path / "x.csv").write_text(f"{header}\n.5\n.25\n")

    np.testing.assert_array_equal(read_arrays(tmp_path / "x.csv", network((1,)).inputs), [[0.5], [0.25]])


def recorded(path, shape, samples, dtype=None):
    return read_arrays(path, [InputSpec("y", shape, "float64", samples)], "output", dtype)


def test_header_of_one_column_shows_where_the_samples_are_known(tmp_path):
    (tmp_path / "y.csv").write_text("0\n.5\n.25\n")

    assert recorded(tmp_path / "y.csv", (1,), 3).shape == (3, 1)
    with pytest.raises(InputError, match="It looks like a header: write the file without"):
        recorded(tmp_path / "y.csv", (1,), 2)


@pytest.mark.parametrize(("t_steps", "found"), [(4, (2, 4, 3)), (5, (2, 5, 3)), (3, (2, 3, 3)), (8, (4, 4, 3))])
def test_lines_of_known_samples_show_a_step_too_many_or_too_few(tmp_path, t_steps, found):
    np.savetxt(tmp_path / "h.csv", np.ones((2 * t_steps, 3)), delimiter=",")

    assert recorded(tmp_path / "h.csv", (4, 3), 2).shape == found


# --- raw binary ---


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ">f4", "<f8", "int16", "uint8"])
@pytest.mark.parametrize("name", ["x.bin", "x.dat", "x"])
def test_raw_binary_is_read_in_c_order(tmp_path, dtype, name):
    array = np.arange(24).reshape(2, 4, 3).astype(dtype)
    array.tofile(tmp_path / name)

    found = read_arrays(tmp_path / name, ONE.inputs, dtype=dtype)

    np.testing.assert_array_equal(found, array, strict=True)


def test_raw_bfloat16_becomes_float32(tmp_path, x):
    array = x.astype(ml_dtypes.bfloat16)
    array.tofile(tmp_path / "x.bin")

    found = read_arrays(tmp_path / "x.bin", ONE.inputs, dtype="bfloat16")

    np.testing.assert_array_equal(found, array.astype(np.float32), strict=True)


def test_steps_of_raw_binary_that_the_model_leaves_open_are_of_one_sample(tmp_path):
    NUMBERS.tofile(tmp_path / "x.bin")

    assert read_arrays(tmp_path / "x.bin", network((None, 3)).inputs, dtype="float64").shape == (1, 8, 3)


def test_files_that_say_what_they_hold_are_read_as_they_are_beside_raw_ones(tmp_path, x):
    np.save(tmp_path / "x.npy", x)

    np.testing.assert_array_equal(read_arrays(tmp_path / "x.npy", ONE.inputs, dtype="float64"), x, strict=True)


FOR_Y = "for output 'y', which has shape (2, 10, 4)"
ONCE = "Write every number once, in C order."
CUT = "Check --dtype, and whether writing the file was interrupted."
DTYPES = (
    "expected float16, bfloat16, float32, float64, an integer such as int16, or a code with its byte order, such as "
    ">f4. Give the one that the program wrote."
)


@pytest.mark.parametrize(
    ("size", "dtype", "samples", "message"),
    [
        (
            4 * 1234, "float32", None,
            f"got 1234 numbers of float32; expected a multiple of 10*4 = 40 {FOR_Y.replace('2', 'N')}. {ONCE}",
        ),
        (
            8 * 80, "float32", 2,
            f"got 160 numbers of float32; expected 80 {FOR_Y}. Its size is that of float64: check --dtype.",
        ),
        (
            4 * 90, "float32", 2,
            f"got 90 numbers of float32; expected 80 {FOR_Y}. {ONCE}",
        ),
        (
            4 * 40 - 1, "float32", None,
            f"got 159 bytes; expected a multiple of 4, the bytes of one float32. {CUT}",
        ),
        *(
            (
                160, dtype, None,
                f"--dtype: got {dtype!r}; {DTYPES}",
            )
            for dtype in ("complex64", "O", "f4,f4", "(2,)f4", "U4", "longdouble", "nothing", "", "(" * 999)
        ),
    ],
)  # fmt: skip
def test_raw_binary_that_does_not_fit_is_refused(tmp_path, size, dtype, samples, message):
    (tmp_path / "y.bin").write_bytes(bytes(size))

    with pytest.raises(InputError) as refused:
        recorded(tmp_path / "y.bin", (10, 4), samples, dtype)

    assert str(refused.value).removeprefix(f"{tmp_path / 'y.bin'}: ") == message


def test_raw_binary_with_a_step_too_many_keeps_it(tmp_path):
    np.zeros((2, 11, 4), np.float32).tofile(tmp_path / "y.bin")

    assert recorded(tmp_path / "y.bin", (10, 4), 2, "float32").shape == (2, 11, 4)


def test_raw_binary_for_several_inputs_is_refused(tmp_path):
    (tmp_path / "x.bin").write_bytes(bytes(96))

    with pytest.raises(InputError, match="got raw binary, which holds one array, for 2 inputs; expected "):
        read_arrays(tmp_path / "x.bin", TWO.inputs, dtype="float32")


# --- refused ---


@pytest.mark.parametrize("shape", [(None, 4, 3), (None, None, 3)], ids=["open-steps", "two-open-axes"])
def test_csv_that_cannot_be_cut_into_steps_is_refused(tmp_path, shape):
    (tmp_path / "x.csv").write_text("1,2,3\n" * 6)

    assert refusal(tmp_path / "x.csv", network(shape)).startswith("got 6 lines; expected a multiple of ")


def test_csv_for_several_inputs_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("1,2,3\n")

    assert refusal(tmp_path / "x.csv", TWO) == (
        "got a .csv file, which holds one array, for 2 inputs; expected .npz or .json, with an array for each: "
        "'x0', 'x1'."
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

    assert refusal(tmp_path / "x.csv") == f"got {word!r} on line 1; expected a number. {WRITE}"


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("x.csv", (None, 3), True),
        ("x.CSV", (None, 2, 3), True),
        ("x.csv", (4, 3), False),
        ("x.csv", (None,), False),
        ("x.npy", (None, 3), False),
        ("x.bin", (4, 3), False),
    ],
)
def test_what_a_file_does_not_say_is_said(tmp_path, name, shape, said):
    (tmp_path / name).write_text("0.5,0.25,0.125\n")

    note = taken_for_granted(tmp_path / name, network(shape).inputs)

    assert note.startswith(f"{name}: its lines were read as the steps of one sample") == said
    assert bool(note) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("load\n0.5\n", "its first line, 'load', was left out as a header."),
        ("0\n0.5\n", "its first line, '0', was read as numbers: write the file without if it is a header."),
        ("0,1\n0.5,0.2\n", "its first line, '0,1', was read as numbers: write the file without if it is a header."),
        ("0\n1\n", ""),
        ("0.0\n0.5\n", ""),
    ],
)
def test_first_line_that_is_or_may_be_a_header_is_named(tmp_path, text, said):
    (tmp_path / "x.csv").write_text(text)

    assert taken_for_granted(tmp_path / "x.csv", network((2,)).inputs) == (f"x.csv: {said}" if said else "")


@pytest.mark.parametrize(
    ("numbers", "last", "is_cut"),
    [
        (200, "0.12345", True),
        (200, "0.123456", False),
        (24, "0.1234", True),
        (24, "0.12345", False),  # one in 125 whole files of %g would be refused
        (2, "0.1234", False),
        (24, "1.234567e-0", False),
        (200, "-7", True),
        (200, "0.5\n", False),
    ],
)
def test_last_number_that_is_cut_is_refused(tmp_path, numbers, last, is_cut):
    (tmp_path / "x.csv").write_text("0.654321\n" * numbers + last)

    if is_cut:
        assert refusal(tmp_path / "x.csv", network((1,))) == (
            f"got {last!r} at its end, where all other numbers have more digits; expected as many, and the end of "
            "the line. It is the last line: was writing the file interrupted? Write it again."
        )
    else:
        assert read_arrays(tmp_path / "x.csv", network((1,)).inputs).shape == (numbers + 1, 1)


def test_cut_exponent_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("6.5432100e-01\n" * 200 + "6.5432100e-0")

    assert refusal(tmp_path / "x.csv", network((1,))).startswith("got '6.5432100e-0' at its end")


@pytest.mark.parametrize("shape", [(None, 3), (None,)])
def test_what_raw_binary_does_not_say_is_said(shape):
    note = taken_for_granted(Path("x.bin"), network(shape).inputs)

    assert note.startswith(
        "x.bin: its numbers were read as the steps of one sample, for the model leaves their number"
    )


def test_file_with_two_arrays_in_a_row_is_refused(tmp_path):
    with (tmp_path / "x.npy").open("wb") as file:
        np.save(file, NUMBERS)
        np.save(file, NUMBERS)

    assert "follow; expected one whole array. " in refusal(tmp_path / "x.npy")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_name_that_is_there_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for _ in range(2):
            content = io.BytesIO()
            np.save(content, NUMBERS)
            archive.writestr("a.npy", content.getvalue())
    (tmp_path / "x.json").write_text('{"a": [1], "a": [2]}')

    assert refusal(tmp_path / "x.npz") == "got array 'a' twice; expected every name once. Save it again."
    assert refusal(tmp_path / "x.json") == "got 'a' twice; expected every name once. Leave one out."


def test_saved_bfloat16_is_refused_with_a_way_out(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 4, 3), "V2"))

    assert refusal(tmp_path / "x.npy") == (
        "got values of two bytes that NumPy does not know, as bfloat16 is saved; expected numbers. Save "
        "array.astype('float32'), which holds every bfloat16."
    )


def test_truth_among_numbers_is_refused(tmp_path):
    (tmp_path / "x.json").write_text("[[[1, true, 3]]]")

    assert refusal(tmp_path / "x.json") == (
        "got true or false among numbers; expected nested lists of numbers. Write 1 or 0."
    )


def test_integer_beyond_those_of_numpy_is_a_number(tmp_path):
    (tmp_path / "x.json").write_text(f"[[[{10**25}, 1, -{10**25}]]]")

    np.testing.assert_array_equal(read_arrays(tmp_path / "x.json", ONE.inputs), [[[1e25, 1, -1e25]]])


def test_directory_is_refused_as_such(tmp_path):
    assert refusal(tmp_path) == (
        "got a directory; expected .npy, .npz, .csv or .json with the inputs. Give the file in it."
    )


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.csv", "x.json", "x.bin"])
def test_pipe_is_refused_at_once(tmp_path, name):
    os.mkfifo(tmp_path / name)

    assert refusal(tmp_path / name) == PIPE


def test_device_is_refused_at_once():
    assert refusal(Path("/dev/zero")) == PIPE


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".json", ".bin"])
def test_empty_file_is_refused_as_such(tmp_path, suffix):
    (tmp_path / f"x{suffix}").touch()

    assert refusal(tmp_path / f"x{suffix}") == f"the file is empty; expected an array. {CUT_OFF}"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_csv_in_an_encoding_that_it_names_is_read(tmp_path, encoding):
    (tmp_path / "x.csv").write_text("1,2,3\n", encoding=encoding)

    np.testing.assert_array_equal(read_arrays(tmp_path / "x.csv", network((3,)).inputs), [[1, 2, 3]])


def test_csv_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("é,è,à\n1,2,3\n", encoding="latin-1")

    assert refusal(tmp_path / "x.csv").startswith("it cannot be read (")


@pytest.mark.parametrize(
    ("name", "got"),
    [("x.txt", "a .txt file"), ("x", "a file without a suffix"), ("x.npy.gz", "a .gz file")],
    ids=["txt", "none", "gz"],
)
def test_file_of_another_kind_is_refused(tmp_path, name, got):
    (tmp_path / name).write_text("1,2,3\n")

    assert refusal(tmp_path / name) == (
        f"got {got}; expected .npy, .npz, .csv or .json. Name it .csv if it is text; if it is raw binary, `rnncheck "
        "compare` reads it with --dtype float32."
    )


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".txt"])
def test_missing_file_is_refused(tmp_path, suffix):
    assert (
        refusal(tmp_path / f"x{suffix}")
        == "there is no such file; expected .npy, .npz, .csv or .json with the inputs. Check the path."
    )


def test_name_that_is_too_long_is_refused(tmp_path):
    assert refusal(tmp_path / ("x" * 5000 + ".npy")).startswith("it cannot be read (")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("content", [b"1,2,3\n", b"\x93NUMPY", b"PK\x03\x04"], ids=["text", "npy", "zip"])
def test_content_of_another_kind_is_refused(tmp_path, suffix, content):
    (tmp_path / f"x{suffix}").write_bytes(content)

    message = refusal(tmp_path / f"x{suffix}")

    assert message.startswith("it cannot be read (")
    assert message.endswith(f"); expected a whole array. {CUT_OFF}")


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
        f"the header declares {declared} bytes for shape {shape}, but 96 follow; expected one whole array. "
        "Was writing it interrupted? Save it again."
    )


def test_header_of_an_array_in_an_archive_is_checked_too(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x0.npy", described(shape="(3, 4, 3)"))

    assert refusal(tmp_path / "x.npz") == (
        "array 'x0': the header declares 144 bytes for shape (3, 4, 3), but 96 follow; expected one whole array. Was "
        "writing it interrupted? Save it again."
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
        f"array 'x0': the archive declares {2**26} bytes, but {128 + x.nbytes} follow; expected a whole file. "
        "Save it again."
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


@pytest.mark.parametrize("word", ["NA", "null", "None", "n/a", "\N{MINUS SIGN}0.5", "-"])
def test_first_line_of_a_missing_number_is_no_header(tmp_path, word):
    path = tmp_path / "x.csv"
    path.write_text(f"{word}\n1.5\n2.5\n", encoding="utf-8")

    with pytest.raises(InputError) as refused:
        read_arrays(path, [InputSpec("x", (None, 1), "float32")])

    assert str(refused.value).startswith(f"{path}: got {word!r} on line 1; expected a number. ")


def test_archive_that_declares_more_than_its_size_may_have_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=np.zeros(2**24 + 1))

    assert refusal(path, network((1,))) == (
        f"got {2**27 + 8 + 128} bytes of arrays; expected at most {2**27}, for a file of its size. Save them without "
        "compression: numpy.savez."
    )


def test_json_larger_than_memory_is_refused(tmp_path):
    path = tmp_path / "x.json"
    with path.open("wb") as file:
        file.write(b"[")
        file.truncate((4 << 30) + 1)

    assert refusal(path, network((1,))) == (
        "got more than 4294967296 bytes; expected fewer. Save it as .npz, which is smaller."
    )
