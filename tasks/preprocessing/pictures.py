"""Pictures, brought into one form the same way everywhere: netpbm, uncompressed, of one size.

A grey picture is a PGM and a coloured one a PPM (netpbm's ``P5`` and ``P6``, 8 bits a channel): a header that says the
size, and the pixels as they are, line by line. So a picture is decoded once, where it comes in, and read as numbers
after that. What could not be decoded is kept as `unreadable.Unreadable`, in the place of the picture.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from tasks.preprocessing.picture_bounds import MAX_BYTES, MAX_PIXELS, PixelsLeft
from tasks.preprocessing.picture_decoding import PictureError, upright
from tasks.preprocessing.unreadable import UNREADABLE

REFERENCE = "image sha256="
"""What the text begins with that the journal keeps of a picture."""
_HEADER = re.compile(rb"P([56])\n(\d{1,5}) (\d{1,5})\n255\n")
_SHARE = r"(\d+(?:\.\d+)?(?:e-\d\d)?)"
_KEPT = re.compile(rf"image sha256=[0-9a-f]{{64}} brightness={_SHARE} contrast={_SHARE}")
_DATA = re.compile(r"data:image/[\w.+-]+;base64,")
_SPACE = re.compile(r"\s+")
_LIGHT = 255.0
_WHOLE = frozenset(range(256))
_NESTS = (list, tuple)

Pixels = npt.NDArray[np.uint8]


class PictureShape(NamedTuple):
    """Pixels of a picture: how wide, how high, and how many numbers each has (1 grey, 3 red, green and blue)."""

    width: int
    height: int
    channels: int

    @property
    def header(self) -> bytes:
        """What a picture of this shape begins with."""
        return b"P%d\n%d %d\n255\n" % (6 if self.channels == 3 else 5, self.width, self.height)

    @property
    def numbers(self) -> int:
        """How many numbers it has."""
        return self.width * self.height * self.channels


def shape_of(content: bytes) -> PictureShape:
    """Return the shape of a picture in the one form.

    Raises
    ------
    PictureError
        If it is none.
    """
    found = _HEADER.match(content)
    shape = PictureShape(int(found[2]), int(found[3]), 3 if found[1] == b"6" else 1) if found else None
    if found is None or shape is None or len(content) != found.end() + shape.numbers:
        raise PictureError("no picture as tables hold it")
    return shape


def pixels_of(content: bytes) -> Pixels:
    """Return the numbers of a picture in the one form, of shape (height · width · channels,), from 0 to 255.

    Raises
    ------
    PictureError
        If it is none.
    """
    shape = shape_of(content)
    return np.frombuffer(content, np.uint8, offset=len(content) - shape.numbers)


def read_picture(value: Any) -> bytes | None:  # noqa: ANN401 - whatever a row holds
    """Return the bytes of a picture, whichever way a row holds it; None where there is none, or none that is readable.

    Raises
    ------
    TypeError
        If it is neither bytes nor their base64.
    """
    if value is None:
        return None
    if isinstance(value, str):
        if value.startswith(REFERENCE):
            raise TypeError("a picture is needed, and of this one only its hash is kept")
        try:
            value = from_base64(value)
        except PictureError as error:
            raise TypeError(str(error)) from None
    if not isinstance(value, bytes):
        raise TypeError("a picture is needed: its bytes, or these in base64")
    return None if value.startswith(UNREADABLE) else value


def from_base64(text: str) -> bytes:
    """Return the bytes that a text stands for; a data URI (RFC 2397) counts as its data.

    Raises
    ------
    PictureError
        If they are too many, or it is no base64.
    """
    if len(text) > MAX_BYTES * 4 // 3 + 256:
        raise PictureError(f"more than {MAX_BYTES >> 20} MB")
    found = _DATA.match(text[:100])
    try:
        return base64.b64decode(_SPACE.sub("", text[found.end() if found else 0 :]), validate=True)
    except (binascii.Error, ValueError):
        raise PictureError("a text that is no base64") from None


class HoldsPictures(Protocol):
    """A column, as far as it says what pictures it holds."""

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height."""

    @property
    def channels(self) -> int | None:
        """One or three."""


class Pictures:
    """Brings pictures to one shape: whatever has another size is stretched or shrunk to it.

    Parameters
    ----------
    width, height, channels : int
    most : int
        Pixels of a picture as it comes that is decoded.
    """

    def __init__(self, width: int, height: int, channels: int = 1, most: int = MAX_PIXELS) -> None:
        self.shape, self.most = PictureShape(width, height, channels), most
        self._header, self._length = self.shape.header, len(self.shape.header) + self.shape.numbers
        pixel = " of three" if channels == 3 else ""
        self.needed = (
            f"a picture: PNG or JPEG in base64, or {height} rows of {width} whole numbers{pixel} from 0 to 255"
        )

    @classmethod
    def of(cls, column: HoldsPictures, most: int = MAX_PIXELS) -> Pictures:
        """Return what a column is declared to hold, of a use case or of a bundle; `most` as of the class."""
        width, height = column.size or (1, 1)
        return cls(width, height, column.channels or 1, most)

    def decode(self, content: bytes, left: PixelsLeft | None = None) -> bytes:
        """Return a picture in the one form; one that is in it already as it is.

        Transparent pixels are white, and a photo is turned as its camera says. Sizes are changed by averaging (`BOX`
        of Pillow), and colours made grey by ITU-R 601-2.

        Parameters
        ----------
        left : PixelsLeft, optional
            What this picture and others share.

        Raises
        ------
        PictureError
            If it is no picture, damaged or too large; it names what, and nothing of the content.
        """
        if len(content) == self._length and content.startswith(self._header):
            return content
        if len(content) > MAX_BYTES:
            raise PictureError(f"more than {MAX_BYTES >> 20} MB")
        width, height, channels = self.shape
        turned = upright(content, self.most, left).convert("RGB" if channels == 3 else "L")
        if turned.size != (width, height):
            from PIL.Image import Resampling

            turned = turned.resize((width, height), Resampling.BOX)
        return self._header + turned.tobytes()

    def from_numbers(self, rows: Sequence[Any]) -> bytes:
        """Return a picture of its numbers: rows of pixels, each a number, or one for each channel.

        Raises
        ------
        PictureError
            If there are others than its shape has, or they are no whole ones from 0 to 255.
        """
        width, height, channels = self.shape
        if not all(isinstance(row, _NESTS) for row in rows):
            raise PictureError("numbers of another shape")
        if len({len(row) for row in rows}) > 1:
            raise PictureError("rows of different lengths")
        if len(rows) != height or len(rows[0]) != width:
            raise PictureError("numbers of another shape")
        numbers: list[Any] = [pixel for row in rows for pixel in row]
        if nested := {len(pixel) if isinstance(pixel, _NESTS) else 0 for pixel in numbers} - {0}:
            if nested != {channels} or not all(isinstance(pixel, _NESTS) for pixel in numbers):
                raise PictureError("numbers of another shape")
            numbers = [number for pixel in numbers for number in pixel]
        elif channels > 1:
            raise PictureError("numbers of another shape")
        if not {*map(type, numbers)} <= {int, float} or not _WHOLE.issuperset(numbers):
            raise PictureError("numbers that are no whole ones from 0 to 255")
        return self._header + bytes(map(int, numbers))

    def check(self, value: Any, left: PixelsLeft | None = None) -> bytes | None:  # noqa: ANN401 - of any kind
        """Read whatever a request holds; `left` as of `decode`.

        Raises
        ------
        TypeError
            With what is needed instead, and why this is none.
        """
        if value is None or value != value:
            return None
        try:
            if isinstance(value, str):
                return self.decode(from_base64(value), left)
            if isinstance(value, bytes):
                return self.decode(value, left)
            if isinstance(value, list | tuple):
                return self.from_numbers(value)
        except PictureError as error:
            raise TypeError(f"{self.needed} ({error}),") from None
        raise TypeError(self.needed)


def light_of(content: bytes | str | None) -> tuple[float, float] | None:
    """Return the brightness of a picture, the mean of its numbers, and its contrast, their standard deviation.

    Both are shares of the largest number; the second is the RMS contrast (Peli 1990).

    Parameters
    ----------
    content : bytes or str, optional
        A picture in the one form, or what `reference_of` keeps of one. None of what is neither.
    """
    if isinstance(content, str):
        kept = _KEPT.fullmatch(content)
        return None if kept is None else (float(kept[1]), float(kept[2]))
    if content is None or _HEADER.match(content) is None:
        return None
    pixels = pixels_of(content)
    return round(float(pixels.mean()) / _LIGHT, 6), round(float(pixels.std()) / _LIGHT, 6)


def reference_of(content: bytes) -> str:
    """Return what a journal keeps of a picture: the SHA-256 of the one form, its brightness and its contrast.

    Examples
    --------
    >>> reference_of(PictureShape(1, 1, 1).header + bytes([51]))[-27:]
    'brightness=0.2 contrast=0.0'
    """
    brightness, contrast = light_of(content) or (0.0, 0.0)
    return f"{REFERENCE}{hashlib.sha256(content).hexdigest()} brightness={brightness} contrast={contrast}"
