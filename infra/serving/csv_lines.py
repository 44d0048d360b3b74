"""The lines of a CSV body."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator

from infra.serving.bad_requests import BadRequestError
from infra.serving.pieces import MAX_ROW_BYTES, PIECE_BYTES


class CsvLines:
    """The lines of a CSV body, one by one.

    Parameters
    ----------
    most_rows : int
        So many lines may be blank.
    """

    def __init__(self, body: bytes, most_rows: int) -> None:
        self._body, self._most_rows = memoryview(body), most_rows
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._lines: Iterator[str] = iter(())
        self._at = self._row_bytes = 0
        self._left = ""
        self.blank_lines = 0

    def begin_row(self) -> None:
        """Forget how long the last row was."""
        self._row_bytes = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines, None)
        while line is None:
            if self._at >= len(self._body) and not self._left:
                raise StopIteration
            line = self._more()
        self._row_bytes += len(line)
        if self._row_bytes > MAX_ROW_BYTES:
            raise BadRequestError(f"a row is larger than {MAX_ROW_BYTES} bytes")
        if len(line) <= len("\r\n") and not line.strip("\r\n"):
            self.blank_lines += 1
            if self.blank_lines > self._most_rows:
                raise BadRequestError(f"at most {self._most_rows} lines may be blank")
        return line

    def _more(self) -> str | None:
        """Decode some more of the body; the last line may go on."""
        part = self._body[self._at : self._at + PIECE_BYTES]
        self._at += len(part)
        last = self._at >= len(self._body)
        lines = list(io.StringIO(self._left + self._decoder.decode(part, last), newline=""))
        self._left = "" if last else lines.pop() if lines else ""
        if len(self._left) > MAX_ROW_BYTES:
            raise BadRequestError(f"a row is larger than {MAX_ROW_BYTES} bytes")
        self._lines = iter(lines)
        return next(self._lines, None)
