"""Images that share part of a field are found however they were turned, cropped or recorded again; others are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import tifffile
import yaml
from numpy.typing import NDArray

from superres.datasets import load_manifest, refuse_duplicates
from superres.datasets.checksum import file_sha256
from superres.datasets.overlaps import Overlap, Thumbnail, find_overlap, thumbnail
from superres.errors import InputError

Image = NDArray[np.float64]

CAMERA: Image = skimage.data.camera()[:400, :360].astype(np.float64)
OTHERS: list[Image] = [
    skimage.data.brick()[:400, :360],
    skimage.data.grass()[:400, :360],
    skimage.data.cell()[:400, :360],
]


def noisy(image: Image, share: float = 0.2) -> Image:
    seed = image.size + round(1000 * share)  # other noise for every recording
    return image + np.random.default_rng(seed).normal(0, share * image.std(), image.shape)


def search(first: list[Image], second: list[Image]) -> Overlap | None:
    def thumbnails(images: list[Image]) -> list[Thumbnail]:
        return [found for image in images if (found := thumbnail(image)) is not None]

    return find_overlap(thumbnails(first), thumbnails(second))


# What becomes of the second image, and the share and shift to be found.
COPIES: dict[str, tuple[Callable[[Image], tuple[Image, Image]], float, tuple[int, int] | None]] = {
    "recorded again": (lambda i: (noisy(i), noisy(i[::-1], 0.3)[::-1] * 7 - 40), 1.0, (0, 0)),
    "mirrored and turned": (lambda i: (i, np.rot90(i[:, ::-1])), 1.0, None),
    "window": (lambda i: (i, noisy(i[100:300, 80:280])), 1.0, (100, 80)),
    "window turned": (lambda i: (i, np.rot90(noisy(i[120:320, 60:300]), 3)), 1.0, None),
    "shifted by half": (lambda i: (i[:260], noisy(i[140:])), 120 / 260, (140, 0)),
    "a quarter in a corner": (lambda i: (i[:264, :238], i[136:, 122:]), 0.23, (136, 122)),
}


@pytest.mark.parametrize("case", COPIES.values(), ids=COPIES)
def test_shared_field_is_found(case: tuple[Any, float, tuple[int, int] | None]) -> None:
    make, share, shift = case
    first, second = make(CAMERA)
    found = search([OTHERS[0], first], [second, OTHERS[1]])
    assert found is not None
    assert (found.first, found.second) == (1, 0)
    assert found.share == pytest.approx(share, abs=0.02)
    assert shift is None or found.shift == pytest.approx(shift, abs=1)
    assert bool(found.turned) == (shift is None)


def test_different_fields_pass() -> None:
    assert (
        search([CAMERA, OTHERS[0]], [OTHERS[1], OTHERS[2], OTHERS[0][::-1] * 0 + noisy(np.ones((400, 360)), 1)]) is None
    )


def test_halves_of_one_specimen_pass() -> None:
    assert search([CAMERA[:200], OTHERS[0][:, :180]], [CAMERA[200:], OTHERS[0][:, 180:]]) is None


def test_single_spots_pass() -> None:
    """A bright spot fits on every other: that alone makes no copy."""
    y, x = np.mgrid[:256, :256]
    spots = [
        noisy(np.exp(-((y - a) ** 2) / 2 / sy**2 - (x - b) ** 2 / 2 / sx**2) * 100, 0.02)
        for a, b, sy, sx in ((60, 80, 14, 22), (150, 190, 20, 15))
    ]
    assert search(spots[:1], spots[1:]) is None


def test_large_images_are_compared_reduced() -> None:
    small = thumbnail(np.kron(CAMERA, np.ones((4, 4))))
    assert small is not None
    assert (small.cell, small.pixels.shape, small.pixels.dtype) == (4, (400, 360), np.uint8)
    assert thumbnail(np.zeros((64, 64))) is thumbnail(CAMERA[:20]) is thumbnail(np.full((64, 64), np.nan)) is None


def test_message_names_both_files_the_overlap_and_what_to_do(tmp_path: Path) -> None:
    entries = []
    for name, split, image in (("a", "train", CAMERA), ("b", "val", noisy(np.rot90(CAMERA[100:300, 80:280])))):
        tifffile.imwrite(tmp_path / f"{name}.tif", image.astype(np.float32))
        file = {"file": f"{name}.tif", "sha256": file_sha256(tmp_path / f"{name}.tif")}
        entries.append({"id": name, "split": split, "high": [file]})
    text = {"name": "m", "description": "d", "licence": "CC0", "credit": "c", "source": "s", "root": "."}
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(text | {"acquisitions": entries}))
    expected = (
        r"images of one field, which share 100 % of the smaller one \(the second turned by 270 degrees, moved by "
        r"Y \+100, X \+80 pixels; correlation (1.00|0.9\d)\) in two splits: .*a\.tif .*b\.tif .*: remove one of the "
        r"two entries"
    )
    with pytest.raises(InputError, match=expected):
        refuse_duplicates(load_manifest(tmp_path / "m.yaml"))
