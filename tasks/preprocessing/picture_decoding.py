"""Pictures decoded by Pillow, if they are of a kind, a size and a depth that are."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

from tasks.preprocessing.picture_bounds import MAX_SCANS, PixelsLeft, has_many_scans

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

FORMATS = ("PNG", "JPEG", "PPM")
_CLEAR = ("LA", "PA", "RGBA", "La", "RGBa")
"""Modes of pictures that may be transparent."""
_DAMAGED = (
    EOFError, IndexError, KeyError, OSError, OverflowError, SyntaxError, TypeError, ValueError, struct.error,
    zlib.error,
)  # fmt: skip
"""What Pillow raises for damaged files."""


class PictureError(ValueError):
    """A picture that cannot be decoded; says what is wrong with it, and nothing of what it shows."""


def upright(content: bytes, most: int, left: PixelsLeft | None) -> Image:
    """Return a decoded picture, upright, on white where it is transparent.

    Parameters
    ----------
    most : int
        Pixels that it may have.
    left : PixelsLeft, optional
        What it and others may have together.

    Raises
    ------
    PictureError
        If it is no picture, damaged or too large.
    """
    import PIL.Image
    from PIL import ImageOps, UnidentifiedImageError

    if has_many_scans(content):
        raise PictureError(f"a JPEG of more than {MAX_SCANS} scans")
    try:
        with PIL.Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            _refuse(opened, most, left)
            turned: Image = ImageOps.exif_transpose(opened)
            if "transparency" in turned.info or turned.mode in _CLEAR:
                seen = turned.convert("RGBA")
                turned = PIL.Image.alpha_composite(PIL.Image.new("RGBA", seen.size, "white"), seen)
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError("no PNG, JPEG or netpbm") from None
    except PIL.Image.DecompressionBombError:  # of more pixels than Pillow ever opens
        raise PictureError(f"more than {most:,} pixels") from None
    except _DAMAGED:
        raise PictureError("a damaged picture") from None
    return turned


def _refuse(opened: ImageFile, most: int, left: PixelsLeft | None) -> None:
    pixels = opened.width * opened.height
    if pixels > most:
        raise PictureError(f"more than {most:,} pixels")
    if left is not None and not left.take(pixels):
        raise PictureError(f"more than {left.most:,} pixels in a request")
    if opened.mode.startswith(("I", "F")) or any(_is_deep(part.args) for part in opened.tile):
        raise PictureError("more than 8 bits a channel")


def _is_deep(stored: Any) -> bool:  # noqa: ANN401 - what a decoder is given
    """Whether channels are stored in 16 bits, or in PPM as numbers up to more than 255; Pillow would round them off."""
    if isinstance(stored, str):
        return ";16" in stored
    return isinstance(stored, tuple) and any(_is_deep(each) or (type(each) is int and each > 255) for each in stored)
