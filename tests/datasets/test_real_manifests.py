"""The manifests of the project against the real images."""

from __future__ import annotations

from pathlib import Path

import pytest

from superres.datasets import load_manifest, refuse_duplicates
from superres.datasets.manifest import load_manifests
from superres.datasets.registration import register_pair
from superres.volumes import open_volume

FOLDER = Path(__file__).parents[2] / "data_manifests"
MANIFESTS = [FOLDER / f"{name}.yaml" for name in ("em", "fluorescence", "pairs_snr")]

pytestmark = pytest.mark.realdata


def test_no_image_is_in_two_splits(data_root: Path) -> None:
    """Neither within a set nor between sets that somebody may use together."""
    others = [FOLDER / f"{name}.yaml" for name in ("stack3d", "timelapse", "noisy_only", "pair_widefield_confocal")]
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


def test_real_pairs_lie_on_each_other(data_root: Path) -> None:
    manifest = load_manifest(next(path for path in MANIFESTS if path.stem == "pairs_snr"), data_root)
    for acquisition in manifest.acquisitions:
        for low, high in zip(acquisition.low, acquisition.high, strict=True):
            found = register_pair(open_volume(low), open_volume(high), factor=(1, 1, 1))
            assert found.is_accepted, f"{high}: {found.problem}"
            assert max(map(abs, found.shift)) <= 0.1, f"{high}: {found}"
            assert found.certainty > 30, f"{high}: {found}"
