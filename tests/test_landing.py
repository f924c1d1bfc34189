"""Landing files: names, headers, rows and what cannot be read."""

import gzip
import io
from types import SimpleNamespace

import pytest

from include.landing import (
    LandingUnreadable,
    count_rows,
    header_of,
    is_landing_file,
    missing_message,
    read_rows,
    scalar_text,
    source_and_ds,
)


def test_only_facts_files_count() -> None:
    assert is_landing_file("u/s/ds=2013-01-01/part-0.csv.gz")
    assert is_landing_file("u/s/ds=2013-01-01/x.jsonl.gz")
    assert not is_landing_file("u/s/ds=2013-01-01/_SUCCESS")
    assert not is_landing_file("u/s/ds=2013-01-01/_part.csv.gz")
    assert not is_landing_file("u/s/ds=2013-01-01/readme.txt")


def test_a_key_names_source_and_day() -> None:
    assert source_and_ds("u", "u/s/ds=2013-01-01/x.csv.gz") == ("s", "2013-01-01")
    with pytest.raises(ValueError, match="is not u/"):
        source_and_ds("u", "u/s/x.csv.gz")


def test_missing_folders_are_named() -> None:
    message = missing_message(["u/s/ds=2013-01-01/", "u/t/ds=2013-01-01/"])
    assert "2 landing folder(s)" in message
    assert "s3://landing/u/s/ds=2013-01-01/_SUCCESS" in message


def test_the_header_is_read_from_the_first_bytes_only() -> None:
    content = gzip.compress("\ufeffid,näme\n".encode() + b"x,y\n" * 100_000)
    assert header_of("k", content[:64]) == ("id", "näme")
    assert header_of("k", b"") == ()
    with pytest.raises(LandingUnreadable, match=r"k is not a gzip"):
        header_of("k", b"plain text")


# Without a fixed time the bytes, which are the tests' names, would change with the second in which they are collected.
@pytest.mark.parametrize(
    "content", [b"plain", gzip.compress(b"id\n1\n" * 1000, mtime=0)[:-20], gzip.compress(b"id\n\xff\n", mtime=0)]
)
def test_what_cannot_be_read_names_the_file(content: bytes) -> None:
    with pytest.raises(LandingUnreadable, match=r"s3://landing/u/x\.csv\.gz cannot be read"):
        list(read_rows("u/x.csv.gz", io.BytesIO(content)))


def test_empty_files_have_no_rows() -> None:
    assert list(read_rows("x.csv.gz", io.BytesIO(gzip.compress(b"")))) == []
    assert list(read_rows("x.csv.gz", io.BytesIO(gzip.compress(b"id,value\n")))) == []
    assert list(read_rows("x.jsonl.gz", io.BytesIO(gzip.compress(b"\n")))) == []


@pytest.mark.parametrize(
    ("key", "text", "rows"),
    [
        ("x.csv.gz", 'id,value\n1,"a\nb"\n\n2\n3,c,d\n', 3),
        ("x.jsonl.gz", '{"id": 1}\n\n[2]\n  \nnot json', 3),
        ("x.csv.gz", "", 0),
        ("x.csv.gz", "id,value", 0),
    ],
)
def test_rows_are_counted_as_they_are_read(key: str, text: str, rows: int) -> None:
    content = gzip.compress(text.encode(), mtime=0)
    client = SimpleNamespace(get_object=lambda **_: {"Body": io.BytesIO(content)})
    assert count_rows(client, key) == len(list(read_rows(key, io.BytesIO(content)))) == rows


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (r'{"a": "\ud800"}', r"row: holds half a character, '\ud800'"),
        (r'{"a\udc00": 1}', r"row: holds half a character, '\udc00'"),
        (r'{"a": ["\ud83d\ude00"]}', None),
        ("[" * 100_000, "row: is nested too deeply"),
        ('{"a": ' * 100_000, "row: is nested too deeply"),
    ],
)
def test_a_strange_line_of_json_is_a_row_with_a_problem(line: str, problem: str | None) -> None:
    content = gzip.compress(f'{{"a": 1}}\n{line}\n{{"a": 2}}\n'.encode())
    first, strange, last = read_rows("x.jsonl.gz", io.BytesIO(content))
    assert (first.values, last.values) == ({"a": "1"}, {"a": "2"})
    assert strange.problem == problem
    assert problem is None or strange.values == {"+1": line}, "nothing is lost"


def test_json_keeps_numbers_as_they_are_written() -> None:
    content = gzip.compress(b'{"a": 1.50, "b": null, "c": "", "d": true, "e": [1]}\nnot json\n[1]\n')
    rows = list(read_rows("x.jsonl.gz", io.BytesIO(content)))
    assert rows[0].values == {"a": "1.50", "b": None, "c": None, "d": "true", "e": '["1"]'}
    assert [row.problem is None for row in rows] == [True, False, False]
    assert [row.line for row in rows] == [1, 2, 3]


def test_scalars_become_text() -> None:
    assert scalar_text(False) == "false"
    assert scalar_text("x") == "x"
