"""Foreign text made safe: everything that could drive a terminal or forge a line is tried."""

from __future__ import annotations

import sys
import time
import tracemalloc
import unicodedata

import pytest
import wcwidth
from hypothesis import example, given
from hypothesis import strategies as st

from engine.text import safe_error, safe_line, safe_repr

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))  # surrogates included
TERMINAL_TEXT = st.text(
    st.sampled_from("\x1b\x9b\x9d\x90\x98\x9c[]P^_\\\x07;?0m !~\r\n\tab\u202e\u200b\u0301e\udc80")
)
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
ZERO_WIDTH = "\u00ad\u034f\u115f\u1160\u180e\u200b\u200c\u200d\u2060\u2061\u3164\ufe0f\ufeff\uffa0"


def is_safe(text: str) -> bool:
    """Say in other words than the code what the promise is."""
    return (
        type(text) is str
        and text.isprintable()
        and len(text.splitlines()) <= 1
        and not any(unicodedata.category(char) in {"Mn", "Me"} for char in text)
        and not set(text) & set(BIDI + ZERO_WIDTH)
    )


@given(ANY_TEXT | TERMINAL_TEXT)
@example("\x1b\x1b[0m[31mleft together by what goes")
@example("\x1b]0;title\x07\x1bPq\x1b\\\x9b31m\x9d0;title\x9c")
def test_any_text_becomes_a_safe_line(text: str) -> None:
    line = safe_line(text)
    assert is_safe(line)
    assert safe_line(line) == line


@given(st.binary() | TERMINAL_TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_become_a_safe_line(data: bytes) -> None:
    assert is_safe(safe_line(data))
    assert safe_line(bytearray(data)) == safe_line(memoryview(data)) == safe_line(data)


@given(ANY_TEXT | TERMINAL_TEXT, st.integers(0, 20))
def test_a_limit_holds(text: str, limit: int) -> None:
    line = safe_line(text, limit)
    assert is_safe(line)
    assert len(line) <= limit
    whole = safe_line(text)
    assert line == whole if len(whole) <= limit else line.endswith("..."[:limit])


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert safe_line(text) == text


def test_every_byte_by_itself() -> None:
    for number in range(256):
        assert is_safe(safe_line(bytes([number])))
        assert is_safe(safe_line(b"a" + bytes([number]) + b"b"))


def test_every_character_by_itself_and_none_without_width() -> None:
    """The width is that of the terminal's tables (wcwidth); spacing marks (Mc) have their own."""
    for number in range(sys.maxunicode + 1):
        char = chr(number)
        line = safe_line(char)
        assert is_safe(line)
        if line and unicodedata.category(char) != "Mc":
            assert wcwidth.wcwidth(line) > 0, hex(number)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x9b1;31mred\x9bm", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9d0;title\x9ctext", "text"),
        ("\x1bP1$r0m\x1b\\text", "text"),
        ("\x90q#0\x9ctext", "text"),
        ("\x1b_private\x1b\\\x1b^message\x1b\\\x1bXstring\x1b\\text", "text"),
        ("\x1b(0line\x1b(B\x1bc\x1b7\x1b=", "line"),
        ("cut off \x1b[31", "cut off [31"),
        ("cut off \x1b]0;title", "cut off 0;title"),
        ("cut off \x1b", "cut off "),
        ("bell\x07, null\x00, del\x7f", "bell, null, del"),
        ("10%\r20%\r", "10% 20%"),
        ("\r\n  two\r\n\tlines \n", "  two lines "),
        ("a\x85b\u2028c\u2029d\x0be\x0cf\x1cg", "a b c d e f g"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("pay\u200bpal \ufefft\u00adext", "paypal text"),
        ("e\u0301 n\u0303 e\u0302\u0301", "é ñ ế"),
        ("Z\u0351\u036b\u0343algo", "Zalgo"),
        ("\u1112\u1161\u11ab \u1161", "한 "),
        ("no\u00a0break\u3000wide", "no break wide"),
        ("caf\udce9", "caf\ufffd"),
        ("\ue000private \U0010ffff", "private "),
        ("日本語 שלום 👍", "日本語 שלום 👍"),
    ],
)
def test_what_becomes_of(text: str, line: str) -> None:
    assert safe_line(text) == line


@pytest.mark.parametrize(
    "attack",
    ["\x9d", "\x90a", "\x1b]", "\x1b[", "\x1b[0", "\x1b[0 ", "\x1bP\x9d", "\u0315\u0300", "\x1b "],
)
def test_no_text_takes_more_than_linear_time(attack: str) -> None:
    """Quadratic, the shortest of these would take minutes at this length."""
    text = "a" + attack * 200_000
    start = time.process_time()
    safe_line(text)
    assert time.process_time() - start < 2


def test_what_will_be_cut_is_not_even_looked_at() -> None:
    """Nothing the size of the value is made, and no time goes into it."""
    marks, data, numbers = "\u0301" * 10_000_000, b"\xff" * 10_000_000, [0] * 1_000_000
    tracemalloc.start()
    try:
        assert safe_line(marks, 10) == "..."
        assert safe_line(data, 10) == safe_line(memoryview(data), 10) == "\ufffd" * 7 + "..."
        assert len(safe_repr(numbers)) == len(safe_repr(data)) == 200
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


# --- objects that do not behave


class Text(str):
    """Lies about what it holds."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\x1b[31mno"

    def __len__(self) -> int:
        raise RuntimeError

    def __getitem__(self, _: object) -> str:
        raise RuntimeError

    def isascii(self) -> bool:
        """Lie."""
        return True

    def isprintable(self) -> bool:
        """Lie."""
        return True


class Told:
    """Its str and repr are what it is given: a text, or an exception to raise."""

    def __init__(self, what: object) -> None:
        self.what = what

    def __str__(self) -> str:
        if isinstance(self.what, BaseException):
            raise self.what
        return self.what  # type: ignore[return-value]

    __repr__ = __str__


class Pretender:
    """Says that it is bytes, as a mock with a specification does."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return bytes


class Unbound:
    """Cannot even be asked for its class, as a proxy of nothing."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise RuntimeError


def test_a_subclass_of_str_is_taken_by_what_it_holds() -> None:
    for safe in (safe_line(Text("a\x1b[0m\u202eb")), safe_line(Told(Text("a\x1b[0m\u202eb")))):
        assert safe == "ab"
        assert type(safe) is str
    assert is_safe(safe_repr(Text("x" * 500)))


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), RecursionError(), SystemExit(3), GeneratorExit(), MemoryError()]
)
def test_a_str_or_repr_that_raises_breaks_nothing(error: BaseException) -> None:
    kind = type(error).__name__
    assert safe_line(Told(error)) == f"<Told: its __str__ raised {kind}>"
    assert safe_repr(Told(error)) == f"<Told: its __repr__ raised {kind}>"
    assert safe_repr([Told(error)]) == f"<list: its __repr__ raised {kind}>"


def test_a_str_that_is_no_text_breaks_nothing() -> None:
    assert safe_line(Told(42)) == "<Told: its __str__ raised TypeError>"
    assert safe_line(Pretender()) == "<Pretender: its __str__ raised TypeError>"
    assert safe_line(Unbound()) == "<Unbound: its __str__ raised RuntimeError>"


def test_ctrl_c_comes_through() -> None:
    with pytest.raises(KeyboardInterrupt):
        safe_line(Told(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        safe_repr(Told(KeyboardInterrupt()))


@given(
    st.recursive(
        st.none() | st.integers() | ANY_TEXT | st.binary() | ANY_TEXT.map(Told),
        lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.integers(), inner),
    ),
    st.integers(0, 30) | st.none(),
)
def test_any_repr_becomes_a_safe_line(value: object, limit: int | None) -> None:
    line = safe_repr(value, limit)
    assert is_safe(line)
    assert limit is None or len(line) <= limit


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (1500.0, "1500.0"),
        ("abcdefghijk", "'abcdef..."),
        (b"abcdefghijk", "b'abcde..."),
        ("abcdefgh", "'abcdefgh'"),
        (list(range(20)), "[0, 1, ..."),
        (dict.fromkeys(range(20)), "{0: Non..."),
        ({1}, "{1}"),
        (Told("a\nb\x1b[0m"), "a b"),
    ],
)
def test_repr_within_ten_characters(value: object, line: str) -> None:
    assert safe_repr(value, 10) == line


# --- exceptions


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("boom"), "ValueError: boom"),
        (ValueError(), "ValueError"),
        (KeyError("k"), "KeyError: 'k'"),
        (OSError(2, "No such file"), "FileNotFoundError: [Errno 2] No such file"),
        (ValueError("two\nlines\x1b[2J"), "ValueError: two lines"),
        (ExceptionGroup("all", [ValueError()]), "ExceptionGroup: all (1 sub-exception)"),
        (type("Evil\x1b[0m\u202e", (Exception,), {})("x"), "Evil: x"),
    ],
)
def test_an_exception_is_told_by_its_type_and_message(error: Exception, line: str) -> None:
    assert safe_error(error) == line


class Broken(Exception):
    """Is false, and raises when it is shown."""

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        raise ValueError


def test_an_exception_that_cannot_be_shown_is_told_as_such() -> None:
    assert safe_error(Broken()) == "Broken: <Broken: its __str__ raised ValueError>"


def test_a_long_message_is_cut() -> None:
    assert safe_error(ValueError("x" * 1000)) == "ValueError: " + "x" * 185 + "..."
