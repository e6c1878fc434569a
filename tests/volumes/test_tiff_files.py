"""Every real TIFF sample: it opens with the values of independent readers, or is refused in one sentence."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, UnidentifiedImageError

from superres.errors import InputError, SuperresError
from superres.volumes import Volume, open_volume

pytestmark = pytest.mark.realdata
UNKNOWN = (None, None, None)
FOLDERS = ["formats/tiff-variants", "formats/real-quirks", "formats/ome-tiff", "stack3d", "timelapse"]

# First pattern that fits: axes as found, or the reason of the refusal.
EXPECTED = {
    "*palette-*": "colours of a palette",
    "subsubifds.tif": "samples per pixel",
    "minisblack-2c-8b-alpha.tiff": "samples per pixel",
    "no_rows_per_strip.tiff": "samples per pixel",
    "BigTIFF*.tif": "samples per pixel",
    "*rgb*": "samples per pixel",
    "*cmyk*": "samples per pixel",
    "seq-[34]c-*": "samples per pixel",
    "seq-1c-8b-multipage-*": "cannot tell what the axes are",
    "cancer_cell_migration.tif": "cannot tell what the axes are",
    "membrane_2d_timelapse.tif": "cannot tell what the axes are",
    "multifile*": "ZYX",
    "multi-channel.ome.tif": "CYX",
    "ome-types_tiny.ome.tiff": "CYX",
    "mousebrain_a_zc_crop.tif": "ZCYX",
    "xyzc_*": "ZCYX",
    "xyc_*": "CYX",
    "golgi_bfa_timelapse.tif": "TYX",
    "*_timelapse.tif": "TYX",
    "xyz_*": "ZYX",
    "image_3D_*": "ZYX",
    "arabidopsis_embryo.tif": "ZYX",
    "beads_psf.tif": "ZYX",
    "chromosomes.tif": "ZYX",
    "em_flyem_*": "ZYX",
    "golgi_bfa_stack.tif": "ZYX",
    "mitotic_plate.tif": "ZYX",
    "*": "YX",
}
VOXEL_SIZES: dict[str, Any] = {
    "image_3D_calibrated.tif": (0.52, 0.13, 0.13),
    "xy_12bit__saturated_plant.tif": (None, 2.4859, 2.4859),
    "xy_8bit__nucleus_calibrated_downscaled.tif": (None, 1.3, 1.3),
    # ImageJ leaves a distance of 1 unit between planes out, and also a distance that nobody set.
    "xyz_8bit__mitotic_plate_badZcalibrated.tif": (None, 0.085196, 0.085196),
    "xyzc_8bit_spheres.tif": (2.0, 1.0, 1.0),
    "beads_psf.tif": (0.125, 0.0224919, 0.0224919),
    "chromosomes.tif": (0.15, 0.0338542, 0.0338542),
    "mitotic_plate.tif": (3.0, 0.085196, 0.085196),
    "golgi_bfa_stack.tif": (0.3876, 0.351435, 0.351435),
    "golgi_bfa_timelapse.tif": (0.3876, 0.351435, 0.351435),
}
# What Pillow returns is not what is stored: it turns MINISWHITE round, spreads few bits to eight, has no signed bytes
# and no 32-bit integers without sign, and ignores the predictor of packed bits.
PILLOW_ALTERS = ["*miniswhite*", "*fax3*", "seq-1c-[1-7]b-*", "*i8*", "int8.tif", "gradient-1c-32b.tiff", "hpredict-*"]
PILLOW_ALTERS += ["seq-1c-12b-hpredict-*"]


def files(data_root: Path) -> list[Path]:
    found = [path for folder in FOLDERS for path in sorted((data_root / folder).iterdir()) if path.is_file()]
    assert len(found) > 130
    return found


def expectation(path: Path) -> str:
    return next(value for pattern, value in EXPECTED.items() if fnmatch(path.name, pattern))


def reference(path: Path) -> np.ndarray[Any, Any]:
    if path.name.startswith("multifile"):
        parts = sorted(path.parent.glob("multifile-Z*"))
        return np.stack([tifffile.imread(part, is_ome=False) for part in parts])
    if path.name == "maize_ij_images_mismatch.tif":  # tifffile cannot open it by default
        return np.asarray(Image.open(path))
    voxels = tifffile.imread(path)
    return voxels.astype(np.uint8) if voxels.dtype == bool else voxels


def opened(path: Path) -> tuple[Volume, str]:
    """Open a file as a user would: what a refusal says to type is typed."""
    try:
        volume = open_volume(path)
    except InputError as error:
        advice = re.search(r"axes=([TCZYX]+)", str(error))
        assert advice is not None, str(error)
        volume = open_volume(path, axes=advice[1])
    return volume, volume.axes


def as_in_file(volume: Volume) -> np.ndarray[Any, Any]:
    """Bring the voxels back to the axes of the file."""
    whole = np.asarray(volume.levels[0])
    missing = tuple(i for i, letter in enumerate("TCZYX") if letter not in volume.axes)
    kept = [letter for letter in "TCZYX" if letter in volume.axes]
    return whole.squeeze(missing).transpose([kept.index(letter) for letter in volume.axes])


def test_every_file_opens_as_expected(data_root: Path) -> None:
    wrong = {}
    for path in files(data_root):
        expected = expectation(path)
        try:
            found = open_volume(path).axes
        except SuperresError as error:
            found = str(error)
            assert str(path.parent) in found
        if found != expected and not (len(found) > 5 and expected in found):
            wrong[path.name] = found
    assert wrong == {}


def test_voxels_are_those_of_tifffile(data_root: Path) -> None:
    compared = 0
    for path in files(data_root):
        if "palette" in expectation(path):
            continue
        volume, _ = opened(path)
        expected = reference(path)
        voxels = as_in_file(volume)
        assert voxels.dtype == expected.dtype.newbyteorder("="), path.name
        np.testing.assert_array_equal(voxels, expected, err_msg=path.name)
        block = volume.read(t=0, c=0, z=slice(0, 2), y=slice(1, 40), x=slice(3, 30))
        np.testing.assert_array_equal(block, np.asarray(volume.levels[0])[0, 0, :2, 1:40, 3:30], err_msg=path.name)
        compared += 1
    assert compared > 130


@pytest.mark.filterwarnings("ignore")
def test_voxels_are_those_of_pillow(data_root: Path) -> None:
    compared = 0
    for path in files(data_root):
        if expectation(path) != "YX" or any(fnmatch(path.name, pattern) for pattern in PILLOW_ALTERS):
            continue
        try:
            expected = np.asarray(Image.open(path))
        except UnidentifiedImageError:
            continue
        np.testing.assert_array_equal(as_in_file(open_volume(path)), expected, err_msg=path.name)
        compared += 1
    assert compared > 30


def test_voxel_sizes(data_root: Path) -> None:
    for path in files(data_root):
        if expectation(path) == "palette" or "palette" in path.name:
            continue
        expected = VOXEL_SIZES.get(path.name, UNKNOWN)
        for found, value in zip(opened(path)[0].voxel_size, expected, strict=True):
            assert found == (None if value is None else pytest.approx(value, rel=1e-4)), path.name


_OPEN_ALL = """
import json, pathlib, resource, sys, time
from superres.errors import SuperresError
from superres.volumes import open_volume
import superres.volumes.tiff
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = {}
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    for axes in (None, "YX", "YXC", "CYX"):
        started = time.perf_counter()
        try:
            volume = open_volume(path, axes=axes)
            volume.read(t=0, c=0, z=slice(0, 1), y=slice(0, 100), x=slice(0, 100))
            message = ""
        except SuperresError as error:
            message = str(error)
        found[f"{path.name} {axes}"] = [message, time.perf_counter() - started]
print(json.dumps([found, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]))
"""


def test_broken_files_are_refused_soon_and_without_memory(data_root: Path) -> None:
    folder = data_root / "formats" / "tiff-broken"
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _OPEN_ALL, str(folder)], capture_output=True, text=True, check=True, timeout=60
    )
    found, megabytes = json.loads(done.stdout)
    assert len(found) == 4 * len(list(folder.iterdir()))
    for name, (message, seconds) in found.items():
        assert str(folder / name.split()[0]) in message, f"{name} opened"
        assert seconds < 2, name
    assert megabytes < 500
    assert done.stderr == ""
    assert time.perf_counter() - started < 60
