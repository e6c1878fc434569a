"""The usual encodings of TIFF, decoded into memory that is used again and again: it stays in the processor's cache."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

# Deflate and zstd under their numbers, and LZW: those of microscopes, and without tables or shapes of their own.
_COMPRESSIONS = {5, 8, 32946, 34926, 50000}
_HORIZONTAL = 2


class ScratchDecoder:
    """Decodes whole strips or tiles of one page layout, one after the other, by way of the same memory.

    Parameters
    ----------
    keyframe : tifffile.TiffPage
        Whose layout all pages share; see `ScratchDecoder.of`.
    block : tuple of int
        Voxels of a segment: (sample, depth, length, width, sample).
    """

    def __init__(self, keyframe: Any, block: tuple[int, ...]) -> None:
        self._decompress: Callable[..., Any] = tifffile.TIFF.DECOMPRESSORS[keyframe.compression]
        self._unpredict = tifffile.TIFF.UNPREDICTORS[_HORIZONTAL] if keyframe.predictor == _HORIZONTAL else None
        self._voxels = np.empty(block, keyframe.dtype)

    @classmethod
    def of(cls, keyframe: Any, block: tuple[int, ...]) -> ScratchDecoder | None:
        """Return a decoder for the pages of a keyframe; None where tifffile's own way is needed."""
        usual = (
            keyframe.compression in _COMPRESSIONS
            and keyframe.predictor in (1, _HORIZONTAL)
            and keyframe.fillorder == 1
            and keyframe.dtype is not None
            and keyframe.dtype.kind in "iuf"
            and keyframe.bitspersample == 8 * keyframe.dtype.itemsize
            and keyframe.parent.byteorder == {"little": "<", "big": ">"}[sys.byteorder]
        )
        return cls(keyframe, block) if usual else None

    def decode(self, encoded: bytes, place: NDArray[Any]) -> bool:
        """Decode a whole segment into `place`, of the shape of a segment; False where it does not hold exactly one."""
        # What lies in one piece needs no detour.
        voxels = place if place.flags.c_contiguous else self._voxels
        target = voxels.reshape(-1).view(np.uint8)
        try:
            decoded = self._decompress(encoded, out=target)
        except RuntimeError:  # what all codecs raise; the usual way tells what is wrong
            return False
        if len(decoded) != len(target):
            return False
        if self._unpredict is not None:
            self._unpredict(voxels, axis=-2, out=voxels)
        if voxels is not place:
            place[...] = voxels
        return True
