import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsync.providers.body import MAX_DEPTH, BodyError, clean_text, parse_json


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    """An object that is `depth` deep, itself counted."""
    return f'{{"a":{opening * (depth - 1)}1{closing * (depth - 1)}}}'.encode()


def test_a_body_is_an_object():
    assert parse_json(b' {"a": [1, "\xc3\xa9", null, true, 1.5]} ') == {
        "a": [1, "é", None, True, 1.5]
    }
    assert parse_json(b"{}") == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"a":}',
        b'{"a":1}x',
        b"[]",
        b'[{"a":1}]',
        b"null",
        b"1",
        b'"a"',
        b"a=1&b=2",
        b"\x00",
        b"\xff\xfe",
        b'{"a":"\x00"}',
        b'{"a":"\xff"}',
        b'{"a":"\xc3"}',
        b"\x1f\x8b\x08\x00",
    ],
    ids=ascii,
)
def test_everything_else_is_an_error_that_says_why(body: bytes):
    with pytest.raises(BodyError, match="JSON"):
        parse_json(body)


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"])
def test_a_number_that_postgresql_cannot_store_is_an_error(literal: str):
    # A body that is kept half-way would be refused as jsonb, even as a dead letter.
    with pytest.raises(BodyError):
        parse_json(f'{{"a":[{{"b":{literal}}}]}}'.encode())


def test_a_long_integer_is_kept_exactly_and_an_endless_one_is_an_error():
    assert parse_json(b'{"id":12345678901234567890}') == {"id": 12345678901234567890}
    limit = sys.get_int_max_str_digits()
    assert parse_json(b'{"id":' + b"9" * limit + b"}")["id"] == int("9" * limit)
    with pytest.raises(BodyError):
        parse_json(b'{"id":' + b"9" * (limit + 1) + b"}")


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ("[ ", "\n]")])
def test_a_body_may_be_nested_so_deep_and_no_deeper(opening: str, closing: str):
    assert parse_json(nested(MAX_DEPTH, opening, closing))
    with pytest.raises(BodyError, match="deep"):
        parse_json(nested(MAX_DEPTH + 1, opening, closing))


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1000, 100_000, 1_000_000])
def test_depth_is_refused_before_anything_is_built(depth: int):
    with pytest.raises(BodyError, match="deep"):
        parse_json(nested(depth))


def test_brackets_beside_each_other_are_not_deep():
    assert len(parse_json(b'{"a":[' + b"[]," * 5000 + b"[]]}")["a"]) == 5001


@pytest.mark.parametrize(
    "text", ["[" * 500, "{" * 500, '"' + "[" * 500, "\\" + "[" * 500, '\\\\"[' * 100, "]" * 500]
)
def test_brackets_in_text_are_text(text: str):
    assert parse_json(json.dumps({"a": text, "b": [text]}).encode()) == {"a": text, "b": [text]}


def test_depth_after_text_with_quotes_is_still_seen():
    text = json.dumps('\\"' * 50)
    with pytest.raises(BodyError, match="deep"):
        parse_json(f'{{"t":{text},"a":{"[" * 64}{"]" * 64}}}'.encode())


def _deep(value: Any) -> int:
    """The depth of a value, by the book."""
    if isinstance(value, (list, dict)):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max((_deep(each) for each in inner), default=0)
    return 0


@given(
    value=st.recursive(
        st.text('"\\[]{},:x') | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text('"\\[]{}'), inner),
    ),
    spaces=st.sampled_from([(",", ":"), (" ,", " : ")]),
)
def test_the_depth_is_that_of_the_value_whatever_stands_in_its_texts(
    value: Any, spaces: tuple[str, str]
):
    inner = json.dumps(value, separators=spaces)
    room = MAX_DEPTH - 1 - _deep(value)
    deepest = f'{{"a":{"[" * room}{inner}{"]" * room}}}'.encode()
    assert parse_json(deepest)
    with pytest.raises(BodyError, match="deep"):
        parse_json(deepest.replace(b'{"a":', b'{"a":[', 1)[:-1] + b"]}")


@pytest.mark.parametrize(
    ("escaped", "kept"),
    [
        (r"\u0000", "\ufffd"),
        (r"a\u0000b\u0000", "a\ufffdb\ufffd"),
        (r"\ud800", "\ufffd"),
        (r"\uDFFF", "\ufffd"),
        (r"\uD83D", "\ufffd"),
        (r"\udE00\uD83d", "\ufffd\ufffd"),
        (r"x\ud83dy", "x\ufffdy"),
        (r"\ud83d\ude00", "😀"),
        (r"\uD83D\uDE00\uD83D", "😀\ufffd"),
        (r"\\u0000", r"\u0000"),
        (r"\\ud800", r"\ud800"),
        (r"\u0001\u001f\u007f", "\x01\x1f\x7f"),
        (r"\uffff\ufeff\u202e", "\uffff\ufeff\u202e"),
        (r"\ufffd", "\ufffd"),
        ("😀é", "😀é"),
    ],
)
def test_what_postgresql_cannot_hold_becomes_the_replacement_character(escaped: str, kept: str):
    body = f'{{"a":"{escaped}","{escaped}":[{{"b":["{escaped}"]}}]}}'.encode()
    assert parse_json(body) == {"a": kept, kept: [{"b": [kept]}]}


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xed\xb0\x80"}',
        b'{"a":"\xed\xa0\xbd\xed\xb8\x80"}',
        '{"a":"\\u0000"}'.encode("utf-16"),
        '{"a":"\\ud800"}'.encode("utf-16-le"),
        '{"a":"\\u0000"}'.encode("utf-32"),
        ('{"a":' + "[" * 200 + "]" * 200 + "}").encode("utf-16"),
    ],
    ids=["high half", "low half", "both halves", "UTF-16", "UTF-16LE", "UTF-32", "deep UTF-16"],
)
def test_whatever_the_encoding_nothing_unstorable_comes_out(body: bytes):
    # JSON is UTF-8 (RFC 8259 §8.1); Python's decoder is more generous than PostgreSQL.
    try:
        decoded = parse_json(body)
    except BodyError:
        return
    json.dumps(decoded, ensure_ascii=False).encode("utf-8")
    assert "\\u0000" not in json.dumps(decoded)


def test_the_last_of_two_equal_names_counts_and_nothing_breaks():
    assert parse_json(b'{"a":1,"a":2}') == {"a": 2}
    assert parse_json(rb'{"\u0000":1,"\ufffd":2}') == {"\ufffd": 2}


@pytest.mark.parametrize("text", ["", "abc", "é😀\u2028", "\x01"])
def test_clean_text_is_left_as_it_is(text: str):
    assert clean_text(text) is text or clean_text(text) == text
