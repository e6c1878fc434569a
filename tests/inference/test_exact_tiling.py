"""Tiled equals untiled, bit for bit on the CPU in float32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from superres.inference import Predictor

MakePredictor = Callable[..., Predictor]


def image_of(y: int, x: int, planes: int = 1) -> NDArray[np.uint16]:
    return np.random.default_rng(0).integers(300, 40_000, (1, planes, y, x)).astype(np.uint16)


CASES = [
    ("XS", (1, 4, 4), (117, 93), 32),
    ("XS", (1, 1, 1), (61, 130), 48),
    ("S", (1, 2, 2), (101, 75), 40),
    ("S", (1, 4, 4), (77, 131), 64),
    ("S", (1, 3, 3), (65, 90), 24),
    pytest.param("M", (1, 2, 2), (71, 95), 48, marks=pytest.mark.slow),
    pytest.param("M", (1, 4, 4), (67, 49), 32, marks=pytest.mark.long),
    pytest.param("M", (1, 3, 3), (58, 91), 60, marks=pytest.mark.long),
    # What L has more than the others is depth; factors differ in the last layer alone.
    pytest.param("L", (1, 2, 2), (39, 43), 24, marks=pytest.mark.long),
]


@pytest.mark.parametrize(("preset", "factor", "size", "tile"), CASES)
def test_tiled_equals_untiled(
    make_predictor: MakePredictor, preset: str, factor: tuple[int, int, int], size: tuple[int, int], tile: int
) -> None:
    predictor = make_predictor(preset, factor)
    image = image_of(*size)
    untiled = predictor.restore(image, tile=4096)
    assert untiled.shape == (1, 1, size[0] * factor[1], size[1] * factor[2])
    assert untiled.std() > 0
    np.testing.assert_array_equal(predictor.restore(image, tile=tile), untiled)


@pytest.mark.parametrize("size", [(21, 21), (1, 50), (3, 2)])
def test_images_smaller_than_a_tile(make_predictor: MakePredictor, size: tuple[int, int]) -> None:
    predictor = make_predictor("S", (1, 4, 4))
    image = image_of(*size)
    whole = predictor.restore(image)
    assert whole.shape == (1, 1, size[0] * 4, size[1] * 4)
    np.testing.assert_array_equal(predictor.restore(image, tile=16), whole)


def test_out_of_memory_halves_the_tile_and_changes_nothing(
    make_predictor: MakePredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = make_predictor("XS", (1, 2, 2))
    image = image_of(64, 96)
    expected = predictor.restore(image)
    predict = predictor.predict_inner

    def limited(low: NDArray[np.float32], inner: tuple[slice, ...], *, interval: bool) -> NDArray[np.float32]:
        if low.shape[1] * low.shape[2] > 24_000:
            raise torch.OutOfMemoryError("out of memory")
        return predict(low, inner, interval=interval)

    monkeypatch.setattr(predictor, "predict_inner", limited)
    np.testing.assert_array_equal(predictor.restore(image), expected)


def test_planes_and_channels_are_independent(make_predictor: MakePredictor) -> None:
    predictor = make_predictor("XS", (1, 2, 2))
    image = np.concatenate([image_of(40, 30, planes=2), image_of(40, 30, planes=2)[:, ::-1] // 3])
    whole = predictor.restore(image)
    np.testing.assert_array_equal(predictor.restore(image[1:])[0], whole[1])
