"""The sample images: real, coarse like recordings, at their place where it is known, and in the viewer's menu."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from skimage import data

from superres.plugin import samples
from superres.volumes.ngff import upscaled_grid


def test_coarse_cell_lies_over_the_sharp_one() -> None:
    (low, low_told, _), (sharp, sharp_told, _) = samples.cell()
    np.testing.assert_array_equal(sharp, data.cell()[:, :548])
    assert tuple(4 * n for n in low.shape) == sharp.shape
    size, place = upscaled_grid((None, *low_told["scale"]), (0.0, *low_told["translate"]), (1, 4, 4))
    np.testing.assert_allclose(size[1:], sharp_told["scale"])
    np.testing.assert_allclose(place[1:], sharp_told["translate"], atol=1e-12)
    assert low_told["units"] == ("micrometer", "micrometer")
    # Binned, with the noise of about a thousand photons: nothing is blurred or scaled beyond that.
    means = sharp.reshape(low.shape[0], 4, low.shape[1], 4).mean(axis=(1, 3))
    assert abs(low.mean() - means.mean()) < 1.0
    assert 0.5 < np.std(low - means) < 12.0


@pytest.mark.parametrize("sample", samples.SAMPLES, ids=lambda sample: sample.__name__)
def test_samples_are_planes_that_do_not_claim_a_size_nobody_knows(sample: Any) -> None:
    for plane, told, kind in sample():
        assert kind == "image"
        assert plane.ndim == 2
        assert plane.dtype == np.uint8
        assert plane.std() > 3
        known = sample is samples.cell
        assert (told["units"] == ("micrometer", "micrometer")) == known
        assert known or told["scale"] == (1.0, 1.0)


def test_menu_has_every_sample_and_no_other(manifest: Any) -> None:
    listed = {sample.key for sample in manifest.contributions.sample_data}
    assert listed == {sample.__name__ for sample in samples.SAMPLES}


@pytest.mark.napari
def test_viewer_opens_samples(viewer: Any) -> None:
    viewer.open_sample("superres", "cell")
    assert [layer.name for layer in viewer.layers] == ["cell", "cell: sharp image"]
    viewer.layers.clear()
    viewer.open_sample("superres", "tissue")
    assert [layer.name for layer in viewer.layers] == ["tissue: red", "tissue: green", "tissue: blue"]
