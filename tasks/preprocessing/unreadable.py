"""What stands in the place of a picture that could not be decoded: why, and the path that was delivered."""

from __future__ import annotations

from typing import NamedTuple

UNREADABLE = b"!"
"""What begins in the place of a picture that could not be decoded; why follows, and after a NUL the path."""
_PATH = b"\0"


class Unreadable(NamedTuple):
    """Why a picture could not be decoded, and the text that was to lead to it; none where its bytes came themselves."""

    reason: str
    path: str = ""

    @classmethod
    def of(cls, content: bytes | None) -> Unreadable | None:
        """Return what stands in the place of a picture; None of a picture, and of none."""
        if content is None or not content.startswith(UNREADABLE):
            return None
        reason, _, path = content.removeprefix(UNREADABLE).partition(_PATH)
        return cls(reason.decode(), path.decode())

    @property
    def content(self) -> bytes:
        """What is kept in the place of the picture."""
        return UNREADABLE + self.reason.encode() + (_PATH + self.path.encode() if self.path else b"")

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason
