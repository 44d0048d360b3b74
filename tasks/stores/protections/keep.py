"""Personal values as they come."""

from __future__ import annotations

from typing import ClassVar, Literal

from expectations.protection import Protection


class Keep(Protection):
    """Keep the values as they come, and note that they are personal: evidence files show no range of them."""

    examples: ClassVar = ({"keep": True},)
    changes: ClassVar = False
    tells_apart: ClassVar = True
    words: ClassVar = "kept as it comes"

    keep: Literal[True] = True
