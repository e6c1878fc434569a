"""The manifests of the project against the real images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from superres.datasets import fit_intensity, load_manifest, refuse_duplicates
from superres.datasets.manifest import load_manifests
from superres.datasets.pairs import open_pair
from superres.datasets.registration import register_pair
from superres.evaluation.metrics import psnr
from superres.volumes import open_volume

FOLDER = Path(__file__).parents[2] / "data_manifests"
MANIFESTS = [FOLDER / f"{name}.yaml" for name in ("em", "fluorescence", "pairs_snr")]

pytestmark = pytest.mark.realdata


def test_no_image_is_in_two_splits(data_root: Path) -> None:
    """Neither within a set nor between sets that somebody may use together."""
    names = ("stack3d", "timelapse", "noisy_only", "pair_widefield_confocal", "em_celegans", "fluorescence_more")
    others = [FOLDER / f"{name}.yaml" for name in names]
    manifests = load_manifests([*MANIFESTS, *others], data_root)
    assert refuse_duplicates(*manifests) == ()


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_images_open_as_the_manifest_says(path: Path, data_root: Path) -> None:
    for acquisition in load_manifest(path, data_root).acquisitions:
        volumes = [open_volume(file, axes=acquisition.axes) for file in (*acquisition.high, *acquisition.low)]
        assert len({volume.shape for volume in volumes}) == 1, f"{acquisition.id}: one field, one shape"
        assert volumes[0].shape[0] == volumes[0].shape[2] == 1, f"{acquisition.id}: single planes"
        for stated, found in zip(acquisition.voxel_size[1:], volumes[0].voxel_size[1:], strict=True):
            if found is not None:
                assert stated == pytest.approx(found, rel=1e-3), f"{acquisition.id}: voxel size"


def test_two_modalities_in_one_file_are_a_pair(data_root: Path) -> None:
    """As recorded, plane 22 of the widefield stack agrees with the confocal one by 24.4 dB."""
    manifest = load_manifest(FOLDER / "pair_widefield_confocal.yaml", data_root)
    low, high = open_pair(manifest.acquisitions[0], 0, factor=(1, 1, 1))
    assert low.shape == high.shape == (1, 1, 45, 130, 133)
    widefield, confocal = (
        volume.read(t=0, c=0, z=slice(22, 23), y=slice(None), x=slice(None))[0].astype(np.float64)
        for volume in (low, high)
    )
    gain, offset = fit_intensity(confocal, widefield)
    found = psnr(confocal, widefield * gain + offset, data_range=float(np.ptp(confocal)))
    assert found == pytest.approx(24.4, abs=0.1)
    registration = register_pair(low, high, factor=(1, 1, 1))
    assert "one shift does not fit all planes" in registration.problem
    assert registration.correlation > 0.99 > registration.unregistered


def test_real_pairs_lie_on_each_other(data_root: Path) -> None:
    manifest = load_manifest(next(path for path in MANIFESTS if path.stem == "pairs_snr"), data_root)
    for acquisition in manifest.acquisitions:
        for low, high in zip(acquisition.low, acquisition.high, strict=True):
            found = register_pair(open_volume(low), open_volume(high), factor=(1, 1, 1))
            assert found.is_accepted, f"{high}: {found.problem}"
            assert max(map(abs, found.shift)) <= 0.1, f"{high}: {found}"
            assert found.certainty > 30, f"{high}: {found}"
