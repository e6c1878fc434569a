"""A planted point spread function is found again: with noise, beads that touch, hot voxels, background."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tifffile import imwrite

from superres.errors import InputError
from superres.evaluation.beads import fit_beads, measure_beads

SIGMA = (2.4, 1.5, 1.7)
PLACES = ((12, 14, 15), (13.3, 14.6, 60.2), (11.6, 42.4, 30.7), (12.4, 70.2, 12.5), (13, 71.5, 66.1), (12.2, 44, 71.3))


def beads(
    shape: tuple[int, int, int] = (26, 84, 84),
    sigma: Sequence[float] = SIGMA,
    places: Sequence[Sequence[float]] = PLACES,
    *,
    photons: float = 100,
    seed: int = 0,
) -> NDArray[Any]:
    random = np.random.default_rng(seed)
    grid = np.indices(shape)
    light = np.full(shape, 10.0) + 0.1 * grid[2]
    for place in places:
        square = sum(((g - p) / s) ** 2 for g, p, s in zip(grid, place, sigma, strict=True))
        light += random.uniform(0.5, 1) * photons * np.exp(-0.5 * square)
    return random.poisson(light) + random.normal(100, 2, shape)


@pytest.mark.parametrize("photons", [40, 400])
def test_a_planted_sigma_is_found(photons: float) -> None:
    found = fit_beads(beads(photons=photons))
    assert found.sigma == pytest.approx(SIGMA, rel=0.05)
    assert found.beads >= 5


@pytest.mark.parametrize("distance", [1.5, 3.0])
def test_beads_that_touch_are_left_out(distance: float) -> None:
    partners = [(z, y, x + distance * SIGMA[2]) for z, y, x in PLACES[:2]]
    found = fit_beads(beads(places=(*PLACES, *partners), seed=1))
    assert found.sigma == pytest.approx(SIGMA, rel=0.05)
    assert found.beads <= 5


def test_beads_at_the_border_and_hot_voxels_are_left_out() -> None:
    image = beads(places=(*PLACES, (1, 1, 1), (12, 83, 40)), seed=2)
    image[np.random.default_rng(0).random(image.shape) < 2e-4] += 3000
    found = fit_beads(image)
    assert found.sigma == pytest.approx(SIGMA, rel=0.05)
    assert found.beads <= 6 < found.candidates


def test_one_plane_gives_sigma_along_y_and_x() -> None:
    image = beads(shape=(1, 84, 84), places=[(0, y, x) for _, y, x in PLACES])
    found = fit_beads(image)
    assert found.sigma[0] == 0
    assert found.sigma[1:] == pytest.approx(SIGMA[1:], rel=0.05)


def test_saturated_beads_are_left_out() -> None:
    image = np.minimum(beads(photons=400), 250)
    with pytest.raises(InputError, match="none stands alone"):
        fit_beads(image)


@pytest.mark.parametrize(
    "image",
    [np.full((8, 32, 32), 3.0), np.random.default_rng(0).normal(100, 3, (8, 32, 32)), np.full((1, 9, 9), 1.0)],
)
def test_where_there_are_no_beads_none_are_found(image: NDArray[Any]) -> None:
    with pytest.raises(InputError, match="none stands alone"):
        fit_beads(image)


def test_nan_is_refused() -> None:
    image = beads()
    image[3, 4, 5] = np.nan
    with pytest.raises(InputError, match="NaN"):
        fit_beads(image)


def test_sigma_is_given_in_micrometre(tmp_path: Path) -> None:
    path = tmp_path / "beads.tif"
    imwrite(path, beads().astype(np.float32), metadata={"axes": "ZYX"})
    with pytest.raises(InputError, match="beads_voxel_size"):
        measure_beads(path)
    found = measure_beads(path, (0.3, 0.1, 0.1))
    assert found.sigma == pytest.approx((0.72, 0.15, 0.17), rel=0.05)
    imwrite(path, np.zeros((7, 30, 30), np.float32), metadata={"axes": "ZYX"})
    with pytest.raises(InputError, match=r"beads\.tif: no point spread function"):
        measure_beads(path, (0.3, 0.1, 0.1))


@pytest.mark.realdata
def test_real_beads(data_root: Path) -> None:
    """An oil lens: about 0.1 micrometre across, two to four times that along the axis."""
    found = measure_beads(data_root / "stack3d" / "beads_psf.tif")
    assert found.beads >= 2
    z, y, x = found.sigma
    assert 0.05 < x < 0.12 and 0.05 < y < 0.12
    assert 1.5 < z / x < 5
