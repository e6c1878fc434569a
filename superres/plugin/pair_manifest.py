"""The manifest of pairs of a recording and its sharp image that were chosen in the viewer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

_HEAD = "# Pairs that were chosen in the viewer. Say under licence and credit who may use them, and whom to name.\n"


@dataclass(frozen=True, slots=True)
class Image:
    """An image and the channel of it that is meant.

    Parameters
    ----------
    path : str
        As `superres.open_volume` takes it.
    channel : int
        Counted from 0.
    axes : str or None
        Where the file does not tell.
    """

    path: str
    channel: int = 0
    axes: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {"path": self.path, "channel": self.channel, "axes": self.axes}


@dataclass(frozen=True, slots=True)
class Pair:
    """A recording and the sharp image of the same field."""

    low: Image
    high: Image
    split: Literal["train", "val", "test"]


def write_pairs(path: Path, pairs: Sequence[Pair]) -> Path:
    """Write a manifest, with checksums.

    Raises
    ------
    InputError
        When the files are not on one disk, or the two of a pair have other axes to be told.
    OutputWriteError
        When the manifest cannot be written.
    """
    import yaml

    from superres.datasets.folder_manifest import unique_ids
    from superres.errors import InputError, OutputWriteError

    files = [Path(os.path.abspath(one.path)) for pair in pairs for one in (pair.low, pair.high)]  # noqa: PTH100
    try:
        root = Path(os.path.commonpath([file.parent for file in files]))
    except ValueError:
        raise InputError(f"{files[0]} and {files[-1]} are on different disks; copy one to the other's") from None
    names = unique_ids([Path(pair.high.path).name for pair in pairs])
    content = {
        "name": unique_ids([path.parent.name])[0],
        "description": "Recordings and sharp images of the same fields, listed by superres.",
        "licence": "not stated",
        "credit": "not stated",
        "source": "not stated",
        "root": str(root),
        "acquisitions": [_entry(name, pair, root) for name, pair in zip(names, pairs, strict=True)],
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    except OSError as error:
        raise OutputWriteError(f"{path}: cannot be written ({error.strerror}); choose another folder") from None
    return path


def factor_of(low: Image, high: Image) -> tuple[int, int, int]:
    """Return by how much a sharp image is finer than its recording, ZYX.

    Raises
    ------
    InputError
        When it is not so by whole numbers.
    """
    from superres.datasets.pairs import factor_between
    from superres.errors import InputError
    from superres.volumes import open_volume

    sizes = [open_volume(one.path, axes=one.axes).shape[2:] for one in (low, high)]
    found = factor_between(*sizes)
    if found is None:
        small, large = ("x".join(map(str, size)) for size in sizes)
        raise InputError(
            f"{high.path} has {large} voxels (ZYX), {low.path} has {small}; the sharp image must have a whole number "
            "of times as many along each axis: crop it to the field of the recording"
        )
    return (found[0], found[1], found[2])


def _entry(name: str, pair: Pair, root: Path) -> dict[str, Any]:
    from superres.datasets.checksum import image_sha256
    from superres.errors import InputError

    low, high = pair.low, pair.high
    if low.axes != high.axes:
        raise InputError(
            f"{high.path}: its axes are given as {high.axes or 'in its file'}, those of {low.path} as "
            f"{low.axes or 'in its file'}; save both to files (File > Save Selected Layers) and open those"
        )
    listed = {}
    for key, image in (("low", low), ("high", high)):
        file = Path(os.path.abspath(image.path))  # noqa: PTH100 - a pattern is not resolved
        entry = {"file": file.relative_to(root).as_posix(), "sha256": image_sha256(file), "channels": [image.channel]}
        listed[key] = [entry]
    return {"id": name, "split": pair.split} | listed | ({"axes": low.axes} if low.axes else {})
