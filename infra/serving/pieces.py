"""Where a large JSON body may be cut, so that other requests need not wait until all of it is decoded.

A list of rows is cut where one row seems to end and the next to begin. The decoder says whether that is so: what stands
before the cut, in brackets of its own, is JSON only if the cut lies between two elements of this very list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from infra.serving.steps import Steps

PIECE_BYTES = 64 * 1024
"""A larger body is read in pieces of about this size."""
MAX_ROW_BYTES = 256 * 1024
"""Of a row in a body that is read in pieces, and of what follows the rows."""
MAX_COLUMN_BYTES = 4 * 1024 * 1024
"""Of a column, where rows come by column."""
MAX_HEAD_BYTES = 512 * 1024
"""Of what stands before the rows, such as the index of a data frame."""
_BLANK = rb"[ \t\r\n]{0,64}"
_BLANKS = b" \t\r\n"
_BEGIN = re.compile(rb':%s([\[{])%s(?=([\[{"]))' % (_BLANK, _BLANK))
_FORMS: dict[bytes, tuple[str, tuple[tuple[bytes, bytes], ...]]] = {
    b'"dataframe_records"': ("dataframe_records", ((b"[", b"{"),)),
    b'"instances"': ("instances", ((b"[", b"{"),)),
    b'"inputs"': ("inputs", ((b"[", b"{"), (b"{", b'"'))),
    b'"data"': ("dataframe_split", ((b"[", b"["),)),
}
"""Key -> the form whose rows it may hold, and the brackets these begin with."""
_SEARCHED_BYTES = 16 * 1024
"""How far a cut is looked for in one step: what looks like one again and again takes a quarter of a millisecond."""
_KEYS = 4
"""How often a key is looked at: it may be a text as well."""
_END = {b"{": rb"\}", b"[": rb"\]", b'"': rb"\]"}
_MAX_KEY_BYTES = 256
_LIKELY_CUTS, _CUTS = 4, 8
"""How many are tried: of those that a row of the first one's kind follows, and of any."""
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True)
class Place:
    """Where the rows of a body begin, and how they are written.

    Attributes
    ----------
    form : str
        ``dataframe_records``, ``instances``, ``inputs`` or ``dataframe_split``.
    element : bytes
        What an element begins with: ``{`` for a row, ``[`` for the values of a row, ``"`` for a column of rows.
    start : int
        Of the first element.
    cuts : tuple
        What a cut looks like, and how many such are tried, the likeliest first.
    """

    form: str
    element: bytes
    start: int
    cuts: tuple[tuple[re.Pattern[bytes], int], ...]

    @property
    def by_column(self) -> bool:
        """Whether an element is a column."""
        return self.element == b'"'

    def whole(self, elements: bytes) -> bytes:
        """Make JSON of some elements."""
        return b"{%s}" % elements if self.by_column else b"[%s]" % elements

    @property
    def max_bytes(self) -> int:
        """Of an element."""
        return MAX_COLUMN_BYTES if self.by_column else MAX_ROW_BYTES


def trim(body: bytes) -> Steps[bytes]:
    """Take away the blanks around a body."""
    start, end = 0, len(body)
    while start < end and not body[start : start + PIECE_BYTES].strip(_BLANKS):
        start += PIECE_BYTES
        yield
    while start < end and not body[max(start, end - PIECE_BYTES) : end].strip(_BLANKS):
        end = max(start, end - PIECE_BYTES)
        yield
    return body if end - start == len(body) else body[start:end]


def find_rows(body: bytes) -> Steps[Place | None]:
    """Look for the rows of a body; None where they are not found."""
    for key, (form, written) in _FORMS.items():
        at = 0
        for _ in range(_KEYS):
            at = body.find(key, at, MAX_HEAD_BYTES) + len(key)
            if at < len(key):
                break
            found = _BEGIN.match(body, at)
            if found is None or found.groups() not in written:
                continue
            start = found.end()
            close = (b"]" if found[1] == b"[" else b"}") + (b"}}" if form == "dataframe_split" else b"}")
            try:  # with its brackets closed there, the body is an object of which the rows are the last thing
                members = list(_members.decode(body[:start] + close))
            except (ValueError, RecursionError):
                members = []
            if members and members[-1] == form:
                return Place(form, found[2], start, _cuts(body, found[2], start))
            yield
    return None


def _cuts(body: bytes, element: bytes, start: int) -> tuple[tuple[re.Pattern[bytes], int], ...]:
    gap = rb"(%s%s,%s)%%s" % (_END[element], _BLANK, _BLANK)
    key = body[start : start + _MAX_KEY_BYTES].partition(b":")[0]  # the rows of one program begin alike
    likely = [(key, _LIKELY_CUTS)] if element == b"{" else []
    return tuple((re.compile(gap % re.escape(begin)), tries) for begin, tries in (*likely, (element, _CUTS)))


def find_cuts(body: bytes, place: Place, start: int) -> Iterator[tuple[int, int] | None]:
    """Look for cuts behind `start`, where an element begins.

    Yields
    ------
    tuple of int or None
        End of the elements before the cut, and start of the one after it; None where none is found yet.
    """
    for pattern, tries in place.cuts:
        at, left = start + PIECE_BYTES, tries
        while at < start + place.max_bytes and left:
            found = pattern.search(body, at, at + _SEARCHED_BYTES)
            if found is None:
                at += _SEARCHED_BYTES - 2 * _MAX_KEY_BYTES
                yield None
            else:
                at = found.end()
                left -= 1
                yield found.start() + 1, found.end(1)
