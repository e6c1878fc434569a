"""Damaged at random: a TIFF opens or is refused, soon and without memory, and never in another way."""

from __future__ import annotations

import faulthandler
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from superres.errors import InputError
from superres.volumes import open_volume

WRITTEN: list[dict[str, Any]] = [
    {},
    {"compression": "zlib"},
    {"compression": "lzw", "predictor": True, "rowsperstrip": 7},
    {"compression": "zstd", "tile": (16, 16)},
    {"compression": "packbits", "byteorder": ">"},
    {"bigtiff": True, "tile": (16, 16)},
    {"ome": True},
    {"ome": True, "compression": "zlib"},
    {"imagej": True},
]


def seeds(folder: Path) -> list[bytes]:
    """Write a file of every kind, and one with headers and voxels in turn."""
    data = np.random.default_rng(0).integers(0, 200, (3, 30, 40)).astype(np.uint16)
    path = folder / "seed.tif"
    contents = []
    for options in WRITTEN:
        tifffile.imwrite(path, data, **{"photometric": "minisblack", "metadata": {"axes": "ZYX"}} | options)
        contents.append(path.read_bytes())
    with tifffile.TiffWriter(path) as writer:
        for plane in data:
            writer.write(plane, metadata=None, contiguous=False, photometric="minisblack")
    return [*contents, path.read_bytes()]


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Change bytes, whole numbers, or the length; mostly near the ends, where headers lie."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 3, 6])):
        near = min(len(changed), 400)
        place = draw.choice(
            [draw.randrange(len(changed)), draw.randrange(near), len(changed) - 1 - draw.randrange(near)]
        )
        how = draw.random()
        if how < 0.6:
            changed[place] = draw.choice([0, 1, 255, draw.randrange(256)])
        elif how < 0.8:
            number = draw.choice([0, 1, 65535, 10**6, 2**31 - 1, 2**32 - 1])
            changed[place : place + 4] = number.to_bytes(4, draw.choice(["little", "big"]))
        elif how < 0.9:
            del changed[max(1, place) :]
        else:
            changed[place:place] = draw.randbytes(draw.randrange(8))
    return bytes(changed)


def attack(folder: Path, count: int, seed: int) -> int:
    draw = random.Random(seed)
    originals = seeds(folder)
    path = folder / "mutated.tif"
    opened = 0
    for _ in range(count):
        path.write_bytes(mutated(draw.choice(originals), draw))
        started = time.process_time()
        try:
            volume = open_volume(path, axes=draw.choice([None, "ZYX", "YX"]))
            volume.read(t=0, c=0, z=slice(0, 2), y=slice(0, 50), x=slice(0, 50))
            opened += 1
        except InputError as error:
            assert "mutated.tif" in str(error)
        assert time.process_time() - started < 2
    return opened


def test_a_few_hundred_mutations(tmp_path: Path) -> None:
    assert 0 < attack(tmp_path, 300, 1) < 300


@pytest.mark.long
def test_seven_thousand_mutations(tmp_path: Path) -> None:
    faulthandler.dump_traceback_later(600, exit=True)
    try:
        assert attack(tmp_path, 7_000, 2) > 0
    finally:
        faulthandler.cancel_dump_traceback_later()
