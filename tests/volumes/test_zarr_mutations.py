"""Zarr metadata and chunks changed at random: read, or refused in one sentence; never anything else."""

from __future__ import annotations

import copy
import faulthandler
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec

from superres.errors import InputError
from superres.volumes import open_volume
from superres.volumes.opening import list_images

ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    7,
    2**31,
    2**63,
    1e300,
    -0.5,
    "",
    "x",
    "0",
    "../..",
    "\0",
    "é",
    [],
    [[]],
    {},
    [1],
]
ODD += [{"name": "gzip"}, {"id": "pickle"}, float("nan"), "|O", "<f8", "uint16", "bytes", ["z", "y", "x"]]


def write(path: Path, zarr_format: Any) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    layout: dict[str, Any] = {"shards": (2, 8, 8), "compressors": BloscCodec()} if zarr_format == 3 else {}
    data = np.arange(4 * 16 * 16, dtype=np.uint16).reshape(4, 16, 16)
    for level in range(2):
        group.create_array(str(level), data=data[..., :: level + 1, :: level + 1], chunks=(1, 4, 4), **layout)
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    steps = [{"type": "scale", "scale": [1.0, 0.5, 0.5]}, {"type": "translation", "translation": [0.0, 1.0, 2.0]}]
    datasets = [{"path": str(level), "coordinateTransformations": steps} for level in range(2)]
    content = {"multiscales": [{"axes": axes, "datasets": datasets}], "omero": {"channels": [{"label": "a"}]}}
    group.attrs.update({"ome": {"version": "0.5", **content}} if zarr_format == 3 else content)


def places_in(content: Any) -> Iterator[tuple[Any, Any]]:
    """Go through all containers and keys of a JSON document."""
    for key, value in list(content.items() if isinstance(content, dict) else enumerate(content)):
        yield content, key
        if isinstance(value, dict | list):
            yield from places_in(value)


def mutate(path: Path, chance: random.Random) -> None:
    """Change one value or byte, drop a key, or cut a file short."""
    raw = path.read_bytes()
    if path.name.startswith((".z", "zarr.json")) and chance.random() < 0.8:
        content = json.loads(raw)
        where = list(places_in(content))
        if where:
            container, key = chance.choice(where)
            if chance.random() < 0.3:
                del container[key]
            else:
                container[key] = copy.deepcopy(chance.choice(ODD))
        path.write_text(json.dumps(content))
    elif raw and chance.random() < 0.7:
        place = chance.randrange(len(raw))
        path.write_bytes(raw[:place] + bytes([chance.randrange(256)]) + raw[place + 1 :])
    else:
        path.write_bytes(raw[: chance.randrange(len(raw) + 1)])


def attempt(path: Path) -> bool:
    try:
        list_images(path)
        volume = open_volume(path)
        volume.identity()
        size = [min(n, 8) for n in volume.shape[2:]]
        block = volume.read(t=0, c=0, z=slice(0, size[0]), y=slice(0, size[1]), x=slice(0, size[2]))
    except InputError as error:
        assert str(path) in str(error), error
        return False
    assert block.shape == tuple(size)
    return True


def attack(path: Path, zarr_format: Any, count: int) -> int:
    """Damage one file of a store at a time; return how often it still opened."""
    write(path, zarr_format)
    assert attempt(path)
    files = sorted(item for item in path.rglob("*") if item.is_file())
    metadata = [item for item in files if item.name.startswith((".z", "zarr.json"))]
    chance = random.Random(zarr_format)
    opened = 0
    for _ in range(count):
        target = chance.choice(metadata) if chance.random() < 0.8 else chance.choice(files)
        before = target.read_bytes()
        mutate(target, chance)
        started = time.process_time()
        opened += attempt(path)
        assert time.process_time() - started < 2
        target.write_bytes(before)
    return opened


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_mutated_stores(tmp_path: Path, zarr_format: Any) -> None:
    assert 10 < attack(tmp_path / "a.zarr", zarr_format, 100) < 90


@pytest.mark.long
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_fifteen_hundred_mutated_stores(tmp_path: Path, zarr_format: Any) -> None:
    """With the mutated TIFF files, ten thousand in all."""
    faulthandler.dump_traceback_later(600, exit=True)
    try:
        assert 150 < attack(tmp_path / "a.zarr", zarr_format, 1500) < 1350
    finally:
        faulthandler.cancel_dump_traceback_later()
