"""Which model is suggested for which recording, and with which reasons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import data

from superres.modelfile import read_model_header
from superres.sharing.suggest import Look, look_at, outside, suggest
from superres.volumes import open_volume
from superres.volumes.hyperstack import save_hyperstack

MakeModel = Callable[..., Path]


def look(**changes: object) -> Look:
    values = {"modality": "electron", "why": "w", "voxel_size": (None, 0.04, 0.04), "period": 2.2, "noise": 0.05}
    return Look(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture
def full_box(box: Path, make_model: MakeModel) -> Path:
    factors = {"em-x4": 4, "em-x2": 2, "fluo-x2": 2, "fluo-restore": 1}
    for name, factor in factors.items():
        modality = "electron" if name.startswith("em") else "light"
        make_model(
            box / f"{name}.safetensors", name=name, factor=(1, factor, factor), voxel_size=(None, None, None),
            card={"modality": modality}, degradation=[{"read_noise": {"sd": [0.02, 0.08]}}],
            training={"voxel_sizes": [None, [0.02, 0.08], [0.02, 0.08]]},
        )  # fmt: skip
    return box


@pytest.mark.parametrize(
    ("modality", "period", "name"),
    [
        ("electron", 2.0, "em-x4"),
        ("electron", 4.0, "em-x2"),
        ("electron", 9.0, "em-x2"),
        ("light", 2.5, "fluo-x2"),
        ("light", 4.0, "fluo-x2"),
        ("light", 9.0, "fluo-restore"),
        ("light", None, "fluo-x2"),
    ],
)
def test_modality_and_finest_detail_choose(full_box: Path, modality: str, period: float | None, name: str) -> None:
    found = suggest(look(modality=modality, period=period))
    assert found.name == name
    assert found.warnings == ()
    assert any(f"{name} is for 0.02 to 0.08 µm along Y and X" in reason for reason in found.reasons)
    assert period is None or any(
        f"a period of about {period:.1f} voxels, noise is 5.0%" in one for one in found.reasons
    )


def test_a_model_for_these_voxels_goes_before_another(full_box: Path, make_model: MakeModel) -> None:
    make_model(
        full_box / "em-coarse.safetensors", factor=(1, 2, 2), voxel_size=(None, 0.5, 0.5), card={"modality": "electron"}
    )
    assert suggest(look(voxel_size=(None, 0.5, 0.5))).name == "em-coarse"
    assert suggest(look()).name == "em-x4"


def test_what_is_outside_of_a_model_is_said_with_figures(full_box: Path) -> None:
    found = suggest(look(voxel_size=(None, 0.5, 0.5), noise=0.3))
    assert found.name == "em-x4"
    first, second = found.warnings
    assert first == "its voxels measure 0.5 µm along Y and X, the model was trained for 0.02 to 0.08 µm along Y and X"
    assert second.startswith("it is noisier than what the model was trained for: noise of 30.0%")
    header = read_model_header(full_box / "em-x4.safetensors")
    assert outside(header, look()) == ()
    unknown = suggest(look(voxel_size=(None, None, None)))
    assert any("cannot be told (the file says none)" in reason for reason in unknown.reasons)


def test_nothing_is_suggested_for_what_no_model_is_for(box: Path, make_model: MakeModel) -> None:
    assert suggest(look()).name is None
    make_model(box / "fluo-x2.safetensors", card={"modality": "light"})
    found = suggest(look())
    assert found.name is None
    assert found.reasons[-1] == "No model in the package is for that (it has fluo-x2)."


def test_modality_is_told_by_names_then_by_grey_levels(tmp_path: Path) -> None:
    texture = gaussian_filter(np.random.default_rng(0).normal(size=(128, 128)), 1.5)
    tissue = (1000 + 20_000 * (texture - texture.min())).astype(np.uint16)
    y, x = np.mgrid[:128, :128]
    blobs = np.exp(-((y % 64 - 32) ** 2 + (x % 64 - 32) ** 2) / 150)
    cells = (200 + 20_000 * blobs + np.random.default_rng(1).normal(scale=30, size=blobs.shape)).astype(np.uint16)
    cases = {
        "tissue.tif": (tissue, (), "electron", "is darker than 15% of its range, as in electron micrographs"),
        "cells.tif": (cells, (), "light", "as of objects on a dark background"),
        "one.tif": (tissue, ("DAPI",), "light", "'dapi' stands in 'DAPI'"),
        "scan_sem_3.tif": (cells, (), "electron", "'sem' stands in 'scan_sem_3'"),
        "assembly.tif": (cells, (), "light", "as of objects on a dark background"),
    }
    for name, (image, channels, modality, why) in cases.items():
        save_hyperstack(tmp_path / name, image[None, None, None], voxel_size=(None, 0.1, 0.1), channel_names=channels)
        found = look_at(open_volume(tmp_path / name))
        assert found.modality == modality, name
        assert why in found.why
        assert found.voxel_size[1:] == pytest.approx((0.1, 0.1))


def test_the_finest_detail_is_that_of_the_recording(tmp_path: Path) -> None:
    periods = []
    for sigma in (0.5, 3.0):
        image = gaussian_filter(data.camera().astype(np.float64), sigma)
        image = 1000 + 100 * (image + np.random.default_rng(1).normal(scale=2, size=image.shape))
        save_hyperstack(tmp_path / "a.tif", image.astype(np.uint16)[None, None, None], voxel_size=(None, 0.1, 0.1))
        period = look_at(open_volume(tmp_path / "a.tif")).period
        assert period is not None
        periods.append(period)
    assert 2 <= periods[0] < periods[1], "what is blurred has coarser detail, and none is finer than two voxels"
