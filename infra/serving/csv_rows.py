"""Rows of one bundle out of a body of CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from typing import Any

from infra.serving.bad_requests import BadRequestError, too_many_rows
from infra.serving.csv_lines import CsvLines
from infra.serving.row_reader import MAX_UNKNOWN, STEP_ROWS, Row, RowReader
from infra.serving.steps import Steps
from infra.serving.values import FROM_TEXT


class CsvReader(RowReader):
    """Reads rows below a line of names as well; every value is a text there, so numbers are read from theirs."""

    def read_csv(self, body: bytes, most_rows: int) -> Steps[list[Row]]:
        """Read the rows of a body, some lines a step.

        Raises
        ------
        BadRequestError
        """
        text, rows = CsvLines(body, most_rows), list[Row]()
        try:
            lines = csv.reader(text, strict=True)
            names = next(lines, [])
            readings = self._csv_readings(names)
            for number, line in enumerate(lines, 1):
                text.begin_row()
                if number % STEP_ROWS == 0:
                    yield
                if line:
                    if len(rows) >= most_rows:
                        raise too_many_rows(None, most_rows)
                    rows.append(self._csv_row(len(rows), names, readings, line))
        except UnicodeDecodeError:
            raise BadRequestError("the body is not UTF-8") from None
        except csv.Error as error:
            raise BadRequestError(f"the body is not CSV: {error}") from None
        return rows

    def _csv_readings(self, names: Sequence[str]) -> list[Callable[[str], Any]]:
        """Check the first line, and return how the values below each name are read."""
        if not names:
            raise BadRequestError("the first line must name the columns")
        if len(names) > len(self.fields) + MAX_UNKNOWN:
            raise BadRequestError(f"the first line names more than {len(self.fields) + MAX_UNKNOWN} columns")
        if len(set(names)) < len(names):
            raise BadRequestError("the first line names a column twice")
        lacking = sorted(self._needed - set(names))
        if lacking:
            raise BadRequestError(f"the column {lacking[0]} is missing; leave its values empty where unknown")
        return [FROM_TEXT.get(self._sent.get(name, "text"), str) for name in names]

    def _csv_row(
        self, position: int, names: Sequence[str], readings: Sequence[Callable[[str], Any]], line: Sequence[str]
    ) -> Row:
        if len(line) != len(names):
            raise BadRequestError(f"row {position} must have {len(names)} values")
        values = {}
        for name, text, reading in zip(names, line, readings, strict=True):
            try:
                values[name] = reading(text) if text else None
            except (ValueError, KeyError):
                raise BadRequestError(f"the column {name} needs a {self._sent[name]} in row {position}") from None
        return self._row(position, values)
