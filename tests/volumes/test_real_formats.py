"""Real files of many dialects: every one opens, or is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from superres.errors import SuperresError
from superres.volumes import open_volume

pytestmark = pytest.mark.realdata
SUFFIXES = {".tif", ".tiff", ".png", ".ndpi", ".czi", ".ome"}


def test_every_file_opens_or_says_why_not(data_root: Path) -> None:
    files = [path for path in sorted((data_root / "formats").rglob("*")) if path.suffix.lower() in SUFFIXES]
    assert len(files) > 150
    opened = 0
    for path in files:
        try:
            volume = open_volume(path)
            block = volume.read(t=0, c=0, z=slice(0, 2), y=slice(1, 40), x=slice(0, 30))
        except SuperresError as error:
            assert str(path.parent) in str(error)
            continue
        opened += 1
        assert block.dtype == volume.dtype
    assert opened > 80


def test_voxels_are_those_that_tifffile_reads(data_root: Path) -> None:
    for path in sorted((data_root / "formats" / "tiff-variants").iterdir()):
        try:
            volume = open_volume(path)
        except SuperresError:
            continue
        np.testing.assert_array_equal(np.squeeze(np.asarray(volume.levels[0])), np.squeeze(tifffile.imread(path)))


def test_every_zarr_opens(data_root: Path) -> None:
    folder = data_root / "formats" / "ome-zarr"
    for name in ("ome-zarr/blobs_image_v04.ome.zarr", "ome-zarr/blobs_image_v05.ome.zarr"):
        assert open_volume(folder / name).shape == (1, 3, 1, 12, 12)
    assert open_volume(folder / "bioformats-zarr" / "data.zarr").shape == (1, 3, 1, 167, 439)


def test_known_calibration(data_root: Path) -> None:
    chromosomes = open_volume(data_root / "stack3d" / "chromosomes.tif")
    assert chromosomes.voxel_size == pytest.approx((0.15, 0.03385, 0.03385), rel=1e-3)
    assert open_volume(data_root / "em-sem-myelin" / "sem_myelin_2_0.13um_16bit.tif").voxel_size == (None, None, None)
    golgi = open_volume(data_root / "timelapse" / "golgi_bfa_timelapse.tif")
    assert (golgi.axes, golgi.dtype) == ("TYX", np.float32)
