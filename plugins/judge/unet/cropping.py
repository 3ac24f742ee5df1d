"""Training windows of images that are too large to train on whole."""

from __future__ import annotations

import torch
from torch import Tensor

from fabloom.kinds.masks import UNKNOWN

MOST = 4096
"""Defect pixels of an image that are kept to choose windows by; of more, evenly spread ones."""


class Windows:
    """Random windows of `side` pixels of images uint8 [N,C,H,W] and masks uint8 [N,H,W]; whole images where no side is longer.

    A window has a chance of one half to lie on a defect pixel that is drawn from its image, where that has one: defects are a few pixels
    of a frame, and most windows drawn blindly would be clean.
    """

    def __init__(self, images: Tensor, masks: Tensor, side: int) -> None:
        self.images, self.masks, self.side = images, masks, side
        self.places: dict[int, Tensor] = {}

    def take(self, rows: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images [B,C,h,w] and masks [B,h,w] of the rows. Nothing is drawn where images are taken whole."""
        height, width = self.images.shape[-2:]
        if max(height, width) <= self.side:
            return self.images[rows], self.masks[rows]
        sides = min(height, self.side), min(width, self.side)
        images, masks = [], []
        for row in rows.tolist():
            top, left = self.corner(row, sides, draw)
            images.append(self.images[row, :, top : top + sides[0], left : left + sides[1]])
            masks.append(self.masks[row, top : top + sides[0], left : left + sides[1]])
        return torch.stack(images), torch.stack(masks)

    def corner(self, row: int, sides: tuple[int, int], draw: torch.Generator) -> tuple[int, int]:
        """Upper left corner of a window, uniform, or uniform among those that hold a defect pixel."""
        places = self.defects(row)
        on_defect, pick, *shares = torch.rand(4, generator=draw, dtype=torch.float64).tolist()
        corner = []
        for axis, (side, share) in enumerate(zip(sides, shares, strict=True)):
            low, high = 0, self.masks.shape[1 + axis] - side
            if on_defect < 0.5 and len(places):
                at = int(places[int(pick * len(places)), axis])
                low, high = max(low, at - side + 1), min(high, at)
            corner.append(low + int(share * (high - low + 1)))
        return corner[0], corner[1]

    def defects(self, row: int) -> Tensor:
        """Defect pixels (y, x) of an image [P,2], found once."""
        if row not in self.places:
            mask = self.masks[row]
            found = ((mask > 0) & (mask != UNKNOWN)).nonzero()
            self.places[row] = found[:: max(1, -(-len(found) // MOST))]
        return self.places[row]
