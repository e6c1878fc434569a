"""The same picture in two splits is refused, whatever it is called and however it is stored."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import skimage.data
import tifffile
import yaml
from numpy.typing import NDArray

from superres.datasets import load_manifest, refuse_duplicates
from superres.datasets.manifest import load_manifests
from superres.errors import InputError

IMAGE: NDArray[np.uint8] = skimage.data.camera()[:200, :160]
OTHER: NDArray[np.uint8] = skimage.data.brick()[:200, :160]


def manifest(folder: Path, train: str, val: str, name: str = "m") -> Path:
    def entry(file: str, split: str) -> dict[str, Any]:
        digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
        return {"id": split, "split": split, "high": [{"file": file, "sha256": digest}]}

    text = {"name": "m", "description": "d", "licence": "CC0", "credit": "c", "source": "s", "root": "."}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(text | {"acquisitions": [entry(train, "train"), entry(val, "val")]}))
    return path


def store(path: Path, image: NDArray[Any]) -> None:
    if path.suffix == ".png":
        iio.imwrite(path, image)
    else:
        axes = {"axes": "ZYX"} if image.ndim == 3 else {}
        tifffile.imwrite(path, image, imagej=image.ndim == 3, metadata=axes)


def noisy_16bit() -> NDArray[np.uint16]:
    noise = np.random.default_rng(1).normal(0, 600, IMAGE.shape)
    return np.clip(IMAGE * 250.0 + 900 + noise, 0, 65535).astype(np.uint16)


COPIES = {
    "PNG and TIFF": ("a.png", IMAGE, "b.tif", IMAGE),
    "8 bits in 16": ("a.tif", IMAGE, "b.tif", IMAGE.astype(np.uint16)),
    "integer and float": ("a.tif", IMAGE, "b.tif", IMAGE.astype(np.float32)),
    "other gain and offset": ("a.tif", IMAGE, "b.tif", IMAGE * np.float32(0.013) - np.float32(4)),
    "16 bits rounded to 8": ("a.tif", noisy_16bit(), "b.tif", (noisy_16bit() >> 8).astype(np.uint8)),
    "inverted": ("a.tif", IMAGE, "b.png", 255 - IMAGE),
    "plane of a stack": ("a.tif", np.stack([OTHER, IMAGE, OTHER[::-1]]), "b.png", IMAGE),
}


@pytest.mark.parametrize("case", COPIES.values(), ids=COPIES)
def test_copy_in_two_splits_is_refused(tmp_path: Path, case: tuple[str, NDArray[Any], str, NDArray[Any]]) -> None:
    train, first, val, second = case
    store(tmp_path / train, first)
    store(tmp_path / val, second)
    loaded = load_manifest(manifest(tmp_path, train, val))  # other bytes: only the pixels can tell
    with pytest.raises(InputError, match=r"in two splits: .*a\.\w+ \(train, .* and .*b\.\w+ \(val, .*remove one"):
        refuse_duplicates(loaded)


def test_copy_across_manifests_is_refused(tmp_path: Path) -> None:
    flips = {"a.png": IMAGE, "b.tif": OTHER, "c.png": OTHER[::-1], "d.tif": IMAGE}
    for name, image in flips.items():
        store(tmp_path / name, np.ascontiguousarray(image))
    paths = [manifest(tmp_path, "a.png", "b.tif", "one"), manifest(tmp_path, "c.png", "d.tif", "two")]
    for path in paths:
        load_manifests([path])
    with pytest.raises(InputError, match=r"the same pixels in two splits: .*one\.yaml.*two\.yaml"):
        load_manifests(paths)


def test_different_images_of_one_camera_pass(tmp_path: Path) -> None:
    """Shared illumination and hot pixels do not make two recordings one."""
    random = np.random.default_rng(2)
    light = 400 * np.exp(-((np.linspace(-1, 1, 200)[:, None]) ** 2) - (np.linspace(-1, 1, 160)[None, :] ** 2))
    hot = np.zeros((200, 160))
    hot.flat[random.choice(hot.size, 60, replace=False)] = 60000
    for name in ("a.tif", "b.tif"):
        store(tmp_path / name, (random.poisson(light) + hot).astype(np.uint16))
    assert refuse_duplicates(load_manifest(manifest(tmp_path, "a.tif", "b.tif"))) == ()


def test_empty_planes_are_alike_and_pass(tmp_path: Path) -> None:
    for name, image in {"a.tif": IMAGE, "b.tif": OTHER}.items():
        store(tmp_path / name, np.stack([np.zeros_like(image), image]))
    refuse_duplicates(load_manifest(manifest(tmp_path, "a.tif", "b.tif")))


def test_large_images_are_named_not_opened(tmp_path: Path) -> None:
    store(tmp_path / "a.png", IMAGE)
    store(tmp_path / "b.tif", IMAGE)
    loaded = load_manifest(manifest(tmp_path, "a.png", "b.tif"))
    assert refuse_duplicates(loaded, max_voxels=100) == (tmp_path / "a.png", tmp_path / "b.tif")
