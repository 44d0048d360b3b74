"""Pictures as they might have been taken, too: what a network sees of them while it learns, drawn anew each time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch.nn import functional

Change = Literal["rotate", "shift", "crop", "flip", "noise"]
_TURN = math.radians(15)
_SHIFT = 0.1
_CROP = 0.8
_NOISE = 0.05


def augment(pictures: torch.Tensor, changes: Sequence[Change]) -> torch.Tensor:
    """Return pictures of shape (n, channels, height, width), each changed by chance, in the order of `changes`.

    `rotate` turns by up to 15 degrees, `shift` moves by up to a tenth of each side, `crop` takes the middle 80 to 100 %
    of each side, `flip` mirrors every second one left to right, `noise` adds deviations of 0.05 of the pictures' own
    spread. What comes in from beyond an edge is as the edge is.
    Chance is torch's own, of the processor, so that a seed draws the same on any device.
    """
    for change in changes:
        pictures = _CHANGES[change](pictures)
    return pictures


def _drawn(pictures: torch.Tensor, columns: int = 1) -> torch.Tensor:
    return torch.rand((len(pictures), columns)).to(pictures.device)


def _mapped(pictures: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    grid = functional.affine_grid(matrices, list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def _rotate(pictures: torch.Tensor) -> torch.Tensor:
    angle = (2 * _drawn(pictures)[:, 0] - 1) * _TURN
    cos, sin, none = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    wide = pictures.shape[3] / pictures.shape[2]  # coordinates are from -1 to 1 on both sides
    rows = [torch.stack([cos, -sin / wide, none], dim=1), torch.stack([sin * wide, cos, none], dim=1)]
    return _mapped(pictures, torch.stack(rows, dim=1))


def _shift(pictures: torch.Tensor) -> torch.Tensor:
    moved = (2 * _drawn(pictures, 2) - 1) * 2 * _SHIFT
    return _mapped(pictures, torch.cat([_plain(pictures), moved[:, :, None]], dim=2))


def _crop(pictures: torch.Tensor) -> torch.Tensor:
    size = _CROP + (1 - _CROP) * _drawn(pictures)[:, :, None]
    return _mapped(pictures, torch.cat([_plain(pictures) * size, pictures.new_zeros(len(pictures), 2, 1)], dim=2))


def _plain(pictures: torch.Tensor) -> torch.Tensor:
    return torch.eye(2, device=pictures.device).expand(len(pictures), 2, 2)


def _flip(pictures: torch.Tensor) -> torch.Tensor:
    chosen = _drawn(pictures)[:, :, None, None] < 0.5
    return torch.where(chosen, pictures.flip(3), pictures)


def _noise(pictures: torch.Tensor) -> torch.Tensor:
    drawn = torch.randn(pictures.shape).to(pictures.device)
    return pictures + _NOISE * pictures.std() * drawn


_CHANGES: dict[Change, Callable[[torch.Tensor], torch.Tensor]] = {
    "rotate": _rotate,
    "shift": _shift,
    "crop": _crop,
    "flip": _flip,
    "noise": _noise,
}
