"""Dirty files, by a seed, each with the truth beside it and what a use case may have to declare to read it."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

ISO = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.250")
DECLARED = (
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d-%b-%Y %H:%M",
    "%d/%m/%y %H:%M",
    "%Y/%d/%m %H:%M",
)
MISSING = ("", "NA", "-", "n/a", "null", "NULL", "?", "none", "#N/A", "missing")
CODES: dict[str, Callable[[random.Random], str]] = {
    "padded": lambda chance: f"{chance.randrange(3000):05d}",
    "digits": lambda chance: str(chance.randrange(10, 99)),
    "large": lambda chance: str(2**53 + chance.randrange(3)),
    "huge": lambda chance: str(2**63 + chance.randrange(3)),
    "versions": lambda chance: f"1.{chance.choice((1, 10, 2, 20))}",
    "words": lambda chance: chance.choice(("NA", "null", "a", "A", "true", "1e5", "-", "inf", "nan")),
    "powers": lambda chance: f"{chance.randrange(1, 4)}e{chance.randrange(1, 4)}",
    "signed": lambda chance: chance.choice(("+1", "1", "-1", "+2", "2")),
    "booleans": lambda chance: chance.choice(("true", "false", "True", "FALSE")),
}
NOTES = (
    "plain", "a;b", "a,b", "tab\there", "a|b", 'said "no"', "two\nlines", " padded ", "NA", "null", "'", '"', "#1",
    "=1+1",     "grün", "naïve", "50 €", "Łódź", "価格", "🙂", "\\", "a\\", "1,5", "-", "NaN", "0x1F", "2024-01-01",
)  # fmt: skip


def _zip(content: bytes, name: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, content)
    return packed.getvalue()


PACKED: dict[str, Callable[[bytes, str], bytes]] = {
    "": lambda content, _: content,
    ".gz": lambda content, _: gzip.compress(content, 1, mtime=0),
    ".bz2": lambda content, _: bz2.compress(content, 1),
    ".xz": lambda content, _: lzma.compress(content, preset=0),
    ".zip": _zip,
}


@dataclass(frozen=True)
class Dirty:
    """A file.

    Attributes
    ----------
    name, content : str, bytes
    truth : dict of str to list
        Column -> its values: instants in UTC, floats, integers and texts; None where one is missing.
    texts : dict of str to list of str
        Column -> as it is written; an empty text where nothing is.
    needed : dict of str to object
        Field of the source, or `clock`, that it must be declared with to be read.
    zone : str
        Of the clock, declared.
    plain : bool
        Whether its numbers are written as any program writes them.
    """

    name: str
    content: bytes
    truth: dict[str, list[object]]
    texts: dict[str, list[str]]
    needed: dict[str, object]
    zone: str
    plain: bool
    kinds: tuple[str, ...]


def dirty(seed: int) -> Dirty:
    """Make a file up."""
    chance = random.Random(seed)
    rows, mild = chance.choice((1, 3, 12, 40)), chance.random() < 0.25
    needed: dict[str, object] = {}
    texts, truth = {}, {}
    zone, form, texts["time"], truth["time"] = _times(chance, rows, ISO if mild else (*ISO, *DECLARED))
    if form in DECLARED:
        needed["clock"] = form
    decimal, thousands, sign = (".", "", "") if mild else _notation(chance)
    spelled = chance.choice(("", "NA") if mild else MISSING)
    for name, whole in (("pressure", False), ("größe" if chance.random() < 0.3 else "size", True)):
        texts[name], truth[name] = _numbers(chance, rows, whole, decimal, thousands, sign, spelled)
    if decimal != ".":
        needed["decimal"] = decimal
    if thousands:
        needed["thousands"] = thousands
    if sign:
        needed["signs"] = [sign]
    if spelled not in ("", "NA") and any(spelled in texts[name] for name in texts if name != "time"):
        needed["missing"] = ["", "NA", spelled]
    code = chance.choice(list(CODES))
    texts["code"] = [CODES[code](chance) for _ in range(rows)]
    texts["note"] = [chance.choice(NOTES) for _ in range(rows)]
    for name in ("code", "note"):
        texts[name] = ["" if chance.random() < 0.1 else text for text in texts[name]]
        truth[name] = [text or None for text in texts[name]]
    if "missing" in needed:  # told of the whole source
        for name in ("code", "note"):
            truth[name] = [None if text in needed["missing"] else text for text in texts[name]]  # type: ignore[operator]
    shape = "jsonl" if chance.random() < 0.15 and decimal == "." and not thousands and not sign else "csv"
    columns = list(texts)
    chance.shuffle(columns)
    texts, truth = {name: texts[name] for name in columns}, {name: truth[name] for name in columns}
    if shape == "jsonl":
        for name in ("code", "note"):
            truth[name] = [text or None for text in texts[name]]
        needed.pop("missing", None)
        content, encoding, kinds = _json_lines(chance, texts, truth), "utf-8", [code, shape]
    else:
        content, encoding, kinds = _csv(chance, texts, decimal, needed, mild=mild)
        kinds = [code, shape, *kinds]
    packed = chance.choice([*PACKED, "", "", ""])
    name = f"rows.{shape}{packed}"
    plain = shape == "csv" and decimal == "." and not thousands and not sign
    marks = (form, zone, decimal, thousands, sign, spelled, encoding, packed, *kinds)
    return Dirty(name, PACKED[packed](content, f"rows.{shape}"), truth, texts, needed, zone, plain, marks)


def _times(chance: random.Random, rows: int, forms: tuple[str, ...]) -> tuple[str, str, list[str], list[object]]:
    form = chance.choice(forms)
    zone = "UTC" if form.endswith("Z") else chance.choice(("UTC", "Europe/Berlin", "America/New_York"))
    day = chance.choice(((2024, 3, 30), (2024, 10, 26), (2024, 11, 2), (2024, 1, 5), (2024, 12, 28), (2024, 7, 13)))
    begin = datetime(*day, chance.randrange(24), tzinfo=ZoneInfo(zone)).astimezone(UTC)
    step = chance.choice((15, 30, 60, 60 * 24 if zone == "UTC" else 60))
    moments = [begin + timedelta(minutes=step * at) for at in range(rows)]
    written = [f"{moment.astimezone(ZoneInfo(zone)):{form}}" for moment in moments]
    if form.endswith(".250"):
        moments = [moment + timedelta(milliseconds=250) for moment in moments]
    return zone, form, written, list(moments)


def _notation(chance: random.Random) -> tuple[str, str, str]:
    decimal = chance.choice((".", ".", ","))
    thousands = chance.choice(["", "", ",", " ", "'", "\u00a0"] if decimal == "." else ["", "", ".", " ", "\u202f"])
    return decimal, thousands, chance.choice(("", "", "", "%", "€", "$", "kg"))


def _numbers(
    chance: random.Random, rows: int, whole: bool, decimal: str, thousands: str, sign: str, spelled: str
) -> tuple[list[str], list[object]]:
    texts, values, behind = [], [], chance.choice(("", " "))
    scale = chance.choice((1, 100, 10_000, 10_000_000))
    for at in range(rows):
        if at and chance.random() < 0.15:
            texts.append(spelled)
            values.append(None)
            continue
        digits = str(chance.randrange(scale)) if at else str(1_234_567)  # the first shows how all are written
        fraction = "" if whole else f"{chance.randrange(1, 10**4):04d}"
        minus = chance.choice(("", "", "-"))
        values.append(float(f"{minus}{digits}.{fraction or '0'}"))
        grouped = f"{int(digits):,}".replace(",", thousands) if thousands else digits
        text = minus + grouped + (decimal + fraction if fraction else "")
        text = f"{text}{behind}{sign}" if sign else text
        texts.append(f" {text} " if chance.random() < 0.05 else text)
    return texts, values


def _csv(
    chance: random.Random, texts: dict[str, list[str]], decimal: str, needed: dict[str, object], *, mild: bool
) -> tuple[bytes, str, list[str]]:
    separator = (
        ","
        if mild
        else chance.choice((";", "\t", "|") if decimal == "," and chance.random() < 0.8 else (",", ",", ";", "\t", "|"))
    )
    if separator != ",":
        needed["separator"] = separator
    ending, quoting = chance.choice(("\n", "\r\n", "\r")), chance.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    out = io.StringIO(newline="")
    write = csv.writer(out, delimiter=separator, lineterminator=ending, quoting=quoting)  # type: ignore[arg-type]
    write.writerow(texts)
    write.writerows(zip(*texts.values(), strict=True))
    text = out.getvalue()
    if chance.random() < 0.2:
        text = text.removesuffix(ending)
    elif chance.random() < 0.2:
        text += ending
    fitting = ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"]
    for encoding in ("latin-1", "cp1252", "cp1250", "shift_jis", "gb18030"):
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            continue
        fitting.append(encoding)
    encoding = chance.choice(fitting[:4] if mild else fitting)
    if encoding in ("utf-16-le", "utf-16-be") or (not encoding.startswith("utf") and not text.isascii()):
        needed["encoding"] = encoding
    return text.encode(encoding), encoding, [separator, repr(ending), str(quoting)]


def _json_lines(chance: random.Random, texts: dict[str, list[str]], truth: dict[str, list[object]]) -> bytes:
    rows = []
    for at in range(len(next(iter(texts.values())))):
        row: dict[str, object] = {}
        for name, values in truth.items():
            value = texts[name][at] if name == "time" else values[at]
            if value is not None or chance.random() < 0.5:
                row[name] = int(value) if isinstance(value, float) and value.is_integer() and value else value
        rows.append(row)
    if chance.random() < 0.3:
        return json.dumps(rows, ensure_ascii=chance.random() < 0.5).encode()
    return "\n".join(json.dumps(row, ensure_ascii=chance.random() < 0.5) for row in rows).encode()
