"""Workbooks: what stands in a sheet is read as a CSV file is, and what would be read wrong is refused or said."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import polars as pl
import pytest

from expectations.data import SourceContext
from expectations.errors import SourceError
from tasks.collection.sources.file import FileSource

_OFFICE = "http://schemas.openxmlformats.org"
_MAIN, _RELATIONS = f"{_OFFICE}/spreadsheetml/2006/main", f"{_OFFICE}/officeDocument/2006/relationships"
Cell = str | float | bool | tuple[str, str] | None
INSTANT = 's="1"'
"""Of a cell that is shown as an instant."""


def workbook(sheets: Mapping[str, Sequence[Sequence[Cell]]]) -> bytes:
    """Write a workbook; a pair is attributes and content of a cell."""

    def xml(tag: str, inside: str, space: str = _MAIN) -> str:
        return f'<?xml version="1.0"?><{tag} xmlns="{space}" xmlns:r="{_RELATIONS}">{inside}</{tag}>'

    types = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {"workbook": "sheet.main", "styles": "styles"}
    parts |= {f"worksheets/sheet{at}": "worksheet" for at in range(len(sheets))}
    kinds = "".join(
        f'<Override PartName="/xl/{name}.xml" ContentType="{types}.{kind}+xml"/>' for name, kind in parts.items()
    )
    relations = "".join(
        f'<Relationship Id="r{at}" Type="{_RELATIONS}/{kind.rpartition(".")[0] or kind}" Target="{name}.xml"/>'
        for at, (name, kind) in enumerate(list(parts.items())[1:])
    )
    named = "".join(
        f'<sheet name="{escape(name)}" sheetId="{at + 1}" r:id="r{at + 1}"/>' for at, name in enumerate(sheets)
    )
    formats = (
        "<fonts><font/></fonts><fills><fill/></fills><borders><border/></borders><cellStyleXfs><xf/></cellStyleXfs>"
    )
    out, package = io.BytesIO(), f"{_OFFICE}/package/2006"
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        rels = '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        archive.writestr("[Content_Types].xml", xml("Types", rels + kinds, f"{package}/content-types"))
        main = f'<Relationship Id="a" Type="{_RELATIONS}/officeDocument" Target="xl/workbook.xml"/>'
        archive.writestr("_rels/.rels", xml("Relationships", main, f"{package}/relationships"))
        archive.writestr("xl/_rels/workbook.xml.rels", xml("Relationships", relations, f"{package}/relationships"))
        archive.writestr("xl/workbook.xml", xml("workbook", f"<sheets>{named}</sheets>"))
        styled = '<cellXfs><xf numFmtId="0"/><xf numFmtId="22" applyNumberFormat="1"/></cellXfs>'
        archive.writestr("xl/styles.xml", xml("styleSheet", formats + styled))
        for at, rows in enumerate(sheets.values()):
            cells = "".join(f'<row r="{place}">{_cells(row, place)}</row>' for place, row in enumerate(rows, 1))
            archive.writestr(f"xl/worksheets/sheet{at}.xml", xml("worksheet", f"<sheetData>{cells}</sheetData>"))
    return out.getvalue()


def _cells(row: Sequence[Cell], place: int) -> str:
    written = []
    for column, value in zip("ABCDEFGH", row, strict=False):
        if isinstance(value, tuple):
            attributes, inside = value
        elif isinstance(value, str):
            attributes, inside = 't="inlineStr"', f'<is><t xml:space="preserve">{escape(value)}</t></is>'
        else:
            attributes = 't="b"' if isinstance(value, bool) else ""
            inside = "" if value is None else f"<v>{int(value) if isinstance(value, bool) else repr(value)}</v>"
        if value is not None:
            written.append(f'<c r="{column}{place}" {attributes}>{inside}</c>')
    return "".join(written)


def read(folder: Path, content: bytes, said: list[str] | None = None, **fields: object) -> pl.DataFrame:
    (folder / "rows.xlsx").write_bytes(content)
    report = said.append if said is not None else lambda _: None
    context = SourceContext("x", folder, set(), None, report=report, needed={"when"}, types={"when": "text"})
    return FileSource.model_validate({"kind": "file", "path": "rows.xlsx", **fields}).read(context)


def test_cells_are_read_as_those_of_a_csv_file(tmp_path: Path) -> None:
    rows: list[list[Cell]] = [
        ["when", "zip", "x", "n", "told"],
        [(INSTANT, "<v>45292.5</v>"), "01234", 0.1, 5.0, True],
        [(INSTANT, "<v>45293.0416782407</v>"), 7, ("", "<f>A1*2</f><v>2.5</v>"), 123456789012345, False],
        [None, "NA", None, None, None],
    ]
    found = read(tmp_path, workbook({"readings": rows, "empty": []}))
    assert found.to_dict(as_series=False) == {
        "when": ["2024-01-01 12:00:00", "2024-01-02 01:00:01", None],
        "zip": ["01234", "7", "NA"],
        "x": [0.1, 2.5, None],
        "n": [5, 123456789012345, None],
        "told": ["true", "false", None],
    }


def test_errors_are_counted_and_formulas_without_a_value_are_refused(tmp_path: Path) -> None:
    said: list[str] = []
    head: list[Cell] = ["when", "x"]
    found = read(tmp_path, workbook({"a": [head, ["a", ('t="e"', "<v>#DIV/0!</v>")], ["b", 2]]}), said)
    assert found["x"].to_list() == [None, 2]
    assert said == ["1 cells of rows.xlsx hold an error: missing"]
    for written in ("<f>A1</f>", "<f>A1</f><v></v>", "<f>A1</f><v/>", '<f t="shared" si="0"/>'):
        with pytest.raises(SourceError, match="1 formulas that were never computed"):
            read(tmp_path, workbook({"a": [head, ["a", ("", written)], ["b", 2]]}))
    empty = ('t="str"', '<f>IF(A3="","",A3)</f><v></v>')  # computed: an empty text
    assert read(tmp_path, workbook({"a": [head, ["a", empty], ["b", 2]]}))["x"].to_list() == [None, 2]


def test_which_sheet_is_asked_where_it_cannot_be_told(tmp_path: Path) -> None:
    two = workbook({"one": [["when"], ["a"]], "two & three": [["when"], ["b"]]})
    with pytest.raises(SourceError, match=r"found one, two & three\. Say which is meant: `sheet: one`"):
        read(tmp_path, two)
    assert read(tmp_path, two, sheet="two & three")["when"].to_list() == ["b"]
    with pytest.raises(SourceError, match="there are one, two & three"):
        read(tmp_path, two, sheet="four")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["when", "x", "x"], ["a", 1, 2]], "x several times in the first line"),
        ([["Report of May"], ["when", "x"], ["a", 1]], "a name above each column"),
        ([["when", "x"]], "none in rows.xlsx"),
    ],
)
def test_a_sheet_that_is_no_table_is_refused(tmp_path: Path, rows: list[list[Cell]], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read(tmp_path, workbook({"a": rows}))


def test_what_is_no_workbook_or_a_large_one_is_refused(tmp_path: Path) -> None:
    whole = workbook({"a": [["when"], ["a"]]})
    for content in (whole[:-200], whole.replace(b"xl/worksheets/sheet0", b"xl/worksheets/sheet9")):
        with pytest.raises(SourceError):
            read(tmp_path, content)
    with pytest.raises(SourceError, match="before 2007"):
        read(tmp_path, b"\xd0\xcf\x11\xe0" + b"\0" * 600)
    large = workbook({"a": [["when"], *[["a" * 30_000]] * 60]})
    with pytest.raises(SourceError, match="at most 1 MB"):
        read(tmp_path, large, max_megabytes=1)
