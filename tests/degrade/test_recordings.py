"""Which windows a fit is made on: files, planes, repeats, factor, and clear words about what cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from superres.degrade.recordings import FitConfig, read_recordings
from superres.errors import ConfigError, InputError
from superres.volumes.hyperstack import save_hyperstack


def field(seed: int, side: int) -> NDArray[np.float64]:
    values = gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 4)
    shares: NDArray[np.float64] = np.clip(values / values.std() + 0.5, 0, None) * 200 + 100
    return shares


def save(path: Path, image: NDArray[np.float64], size: float = 0.1) -> str:
    """Write (..., y, x) as TCZYX."""
    voxels = image.reshape((1,) * (5 - image.ndim) + image.shape).astype(np.float32)
    save_hyperstack(path, voxels, voxel_size=(1.0, size, size))
    return str(path)


def noise(seed: int, side: int) -> NDArray[np.float64]:
    return 5 * np.random.default_rng(seed).normal(size=(side, side))


def test_pairs_tell_their_factor_and_are_cut_in_the_same_place(tmp_path: Path) -> None:
    sharp = field(0, 160)
    low = sharp.reshape(80, 2, 80, 2).mean(axis=(1, 3))
    paths = save(tmp_path / "sharp.tif", sharp), save(tmp_path / "low.tif", low)
    found = read_recordings([paths[0]], [paths[1]], FitConfig(paired=True, window=48)).fields
    assert found.factor == (1, 2, 2)
    assert found.sharp.shape == (1, 96, 96)
    binned = found.sharp.reshape(48, 2, 48, 2).mean(axis=(1, 3))
    assert np.corrcoef(binned.ravel(), found.recorded.ravel())[0, 1] > 0.999999


def test_voxel_sizes_tell_the_factor_of_other_fields(tmp_path: Path) -> None:
    sharp, low = save(tmp_path / "s.tif", field(0, 160), 0.1), save(tmp_path / "r.tif", field(1, 64), 0.4)
    found = read_recordings([sharp], [low], FitConfig())
    assert found.fields.factor == (1, 4, 4)
    assert not found.notes
    assert "check --factor" in read_recordings([sharp], [low], FitConfig(factor=(1, 2, 2))).notes[0]


def test_planes_without_structure_are_left_out(tmp_path: Path) -> None:
    stack = np.stack([noise(z, 64) * 0.1 + 100 if z in (0, 1, 6, 7) else field(z, 64) for z in range(8)])
    path = save(tmp_path / "stack.tif", stack)
    found = read_recordings([path], [path], FitConfig(paired=True, planes=4)).fields
    assert (found.recorded.std(axis=(1, 2)) > 50).all()
    assert len(found.recorded) == 4
    assert found.files.tolist() == [0, 0, 0, 0]


def test_every_recording_is_looked_at(tmp_path: Path) -> None:
    stack = save(tmp_path / "stack.tif", np.stack([field(z, 64) for z in range(8)]))
    single = save(tmp_path / "single.tif", field(9, 64))
    found = read_recordings([single], [stack, single], FitConfig(factor=(1, 1, 1), planes=4)).fields
    assert sorted(set(found.files.tolist())) == [0, 1]
    one = found.of_file(1)
    assert len(one.recorded) == len(one.files) == 1
    assert len(one.sharp) == len(found.sharp)


def test_of_very_many_recordings_some_are_looked_at_and_that_is_said(tmp_path: Path) -> None:
    files = [save(tmp_path / f"r{number:02}.tif", field(number, 40)) for number in range(13)]
    found = read_recordings(files, files, FitConfig(paired=True))
    assert len(set(found.fields.files.tolist())) == 12
    assert "of 13 recordings 12 were looked at" in found.notes[0]


def test_fields_that_are_no_pairs_are_seen_in_windows_of_many_contrasts(tmp_path: Path) -> None:
    """One window would stand for the whole specimen, and two specimens are alike only on average."""
    ramp = save(tmp_path / "ramp.tif", field(0, 256) * np.linspace(0.1, 1, 256))
    config = FitConfig(factor=(1, 1, 1), window=64)
    apart = read_recordings([ramp], [ramp], config).fields
    assert len(apart.recorded) == len(apart.sharp) == 8
    contrast = apart.recorded.std(axis=(1, 2))
    assert contrast.max() > 1.5 * contrast.min()
    assert len(read_recordings([ramp], [ramp], config.model_copy(update={"paired": True})).fields.recorded) == 1


@pytest.mark.parametrize("same", [True, False])
def test_time_points_of_one_field_are_repeats(tmp_path: Path, same: bool) -> None:
    first, second = field(0, 64) + noise(1, 64), field(0 if same else 2, 64) + noise(3, 64)
    series = save(tmp_path / "series.tif", np.stack([first, second])[:, None, None])
    again = read_recordings([series], [series], FitConfig(factor=(1, 1, 1))).fields.again
    assert (again is not None) == same


def test_files_of_one_field_are_repeats(tmp_path: Path) -> None:
    sharp = save(tmp_path / "s.tif", field(0, 64))
    files = [save(tmp_path / f"r{i}x.tif", field(0, 64) + noise(i, 64)) for i in range(2)]
    found = read_recordings([sharp], files, FitConfig(factor=(1, 1, 1))).fields
    assert found.again is not None
    assert len(found.again) == len(found.recorded) == 2


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    good, tiny = save(tmp_path / "good.tif", field(0, 64)), save(tmp_path / "tiny.tif", field(0, 16))
    empty, holes = save(tmp_path / "empty.tif", np.full((64, 64), 7.0)), field(1, 64)
    holes[30, 30] = np.nan
    broken = save(tmp_path / "broken.tif", holes)
    (tmp_path / "no.tif").write_bytes(b"II*\0 nothing")
    wanted: list[tuple[list[str], list[str], FitConfig, str]] = [
        ([good], [tiny], FitConfig(factor=(1, 1, 1)), r"tiny.tif: 16x16 .*too few"),
        ([good], [empty], FitConfig(factor=(1, 1, 1)), r"empty.tif.*constant \(7\)"),
        ([empty], [good], FitConfig(factor=(1, 1, 1)), r"empty.tif.*constant"),
        ([good], [broken], FitConfig(factor=(1, 1, 1)), r"broken.tif.*1 NaN"),
        ([good], [str(tmp_path / "no.tif")], FitConfig(factor=(1, 1, 1)), r"no.tif"),
        ([tiny], [good], FitConfig(factor=(1, 1, 1), paired=True), r"good.tif.*larger than .*tiny.tif.*exchange"),
        ([good], [good], FitConfig(factor=(1, 2, 2), paired=True), r"larger than"),
        ([good, tiny], [good], FitConfig(factor=(1, 1, 1), paired=True), r"2 sharp and 1 recorded"),
        ([good], [good], FitConfig(factor=(1, 1, 1), recorded_channel=3), r"channel 3 wanted, 1 found"),
        ([good], [good], FitConfig(factor=(1, 4, 4)), r"too few"),
    ]
    for sharp, recorded, config, message in wanted:
        with pytest.raises(InputError, match=message):
            read_recordings(sharp, recorded, config)


def test_a_factor_that_cannot_be_told_or_used_is_asked_for(tmp_path: Path) -> None:
    fine, coarse = save(tmp_path / "f.tif", field(0, 64), 0.1), save(tmp_path / "c.tif", field(0, 64), 0.25)
    with pytest.raises(ConfigError, match=r"--factor 1,4,4"):
        read_recordings([fine], [coarse], FitConfig())
    with pytest.raises(ConfigError, match=r"along Z must be 1"):
        read_recordings([fine], [coarse], FitConfig(factor=(2, 2, 2)))
