"""Half-widths are tiled exactly, come with the same prediction, and follow black and white of the image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from superres.inference import Predictor

MakePredictor = Callable[..., Predictor]


@pytest.mark.parametrize(
    ("factor", "size", "tile"), [((1, 2, 2), (101, 75), 40), ((1, 4, 4), (77, 93), 32), ((1, 1, 1), (61, 90), 48)]
)
def test_tiled_equals_untiled(
    make_predictor: MakePredictor, factor: tuple[int, int, int], size: tuple[int, int], tile: int
) -> None:
    predictor = make_predictor("XS", factor, interval=True)
    image = np.random.default_rng(0).integers(300, 40_000, (1, 1, *size)).astype(np.uint16)
    whole = predictor.restore_interval(image, tile=4096)
    for tiled, untiled in zip(predictor.restore_interval(image, tile=tile), whole, strict=True):
        assert untiled.std() > 0
        np.testing.assert_array_equal(tiled, untiled)
    np.testing.assert_array_equal(predictor.restore(image, tile=tile, guarded=False), whole[0])
    assert min(whole[1].min(), whole[2].min()) >= 0


def test_half_widths_scale_with_the_grey_levels_and_ignore_their_offset(make_predictor: MakePredictor) -> None:
    predictor = make_predictor("XS", (1, 2, 2), interval=True)
    image = np.random.default_rng(1).integers(0, 200, (1, 1, 40, 40)).astype(np.float32)
    plain, moved = predictor.restore_interval(image), predictor.restore_interval(4 * image + 512)
    for one, other in zip(plain[1:], moved[1:], strict=True):
        np.testing.assert_allclose(other, 4 * one, rtol=1e-4)


def test_out_of_memory_halves_the_tile_and_changes_nothing(
    make_predictor: MakePredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = make_predictor("XS", (1, 2, 2), interval=True)
    image = np.random.default_rng(0).integers(300, 40_000, (1, 1, 64, 96)).astype(np.uint16)
    expected, predict = predictor.restore_interval(image), predictor.predict_inner
    calls: list[int] = []

    def limited(low: NDArray[np.float32], inner: tuple[slice, ...], *, interval: bool) -> NDArray[np.float32]:
        calls.append(low.size)
        if low.shape[1] * low.shape[2] > 24_000:
            raise torch.OutOfMemoryError("out of memory")
        return predict(low, inner, interval=interval)

    monkeypatch.setattr(predictor, "predict_inner", limited)
    for found, wanted in zip(predictor.restore_interval(image), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert len(calls) > 1
