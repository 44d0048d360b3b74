"""How much work pictures may ask for: pixels, of one and of all in a request, and how often a JPEG paints them."""

from __future__ import annotations

import re

MAX_BYTES = 8 * 1024 * 1024
"""Of a picture as it comes; a larger one is not looked at."""
MAX_PIXELS = 16_777_216
"""Of a picture as it comes (4096 × 4096): one of more is not decoded, however few bytes it has."""
MAX_SENT_PIXELS = 1_048_576
"""The same of a picture in a request (1024 × 1024), unless its column is declared larger."""
MAX_REQUEST_PIXELS = 16_777_216
"""Of all pictures in a request that are decoded; two kilobytes may say that they are so many."""
MAX_SCANS = 20
"""Of a progressive JPEG: each of twelve bytes goes over all pixels once more, and ten are the rule."""
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
"""Of JPEG (ITU-T T.81, B.1.1): one behind which a length stands, or the end."""
_END, _SCAN = b"\xd9", b"\xda"


class PixelsLeft:
    """Pixels that may still be decoded, of those of one request."""

    def __init__(self, most: int = MAX_REQUEST_PIXELS) -> None:
        self.most = self._left = most

    def take(self, pixels: int) -> bool:
        """Whether so many more may be decoded."""
        self._left -= pixels
        return self._left >= 0


def has_many_scans(content: bytes) -> bool:
    """Whether a picture is a JPEG of more scans than are painted; read from its markers, and nothing is decoded."""
    if not content.startswith(b"\xff\xd8"):
        return False
    at, scans = 2, 0
    while (found := _MARKER.search(content, at)) is not None and found[1] != _END:
        scans += found[1] == _SCAN
        if scans > MAX_SCANS:
            return True
        at = found.end() + int.from_bytes(content[found.end() : found.end() + 2])
    return False
