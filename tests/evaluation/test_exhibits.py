"""Spectra, windows and charts: numbers that are known beforehand."""

from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ET

import hypothesis.extra.numpy as hnp
import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data

from superres.evaluation.exhibits import WINDOW, choose_window, make_exhibit, radial_spectrum
from superres.evaluation.figures import Line, Mark, line_chart, nice_ticks, png_uri


@pytest.mark.parametrize("shape", [(128, 128), (96, 160), (65, 81)])
@pytest.mark.parametrize("frequency", [0.05, 0.125, 0.3])
@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0])
def test_spectrum_of_a_sinusoid_peaks_at_its_frequency(shape: tuple[int, int], frequency: float, angle: float) -> None:
    y, x = np.indices(shape)
    turned = x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle))
    frequencies, power = radial_spectrum(100 + np.sin(2 * np.pi * frequency * turned))
    assert frequencies[np.argmax(power)] == pytest.approx(frequency, abs=1.01 / min(shape))
    assert frequencies[-1] <= 0.5


def test_spectrum_of_white_noise_is_its_variance() -> None:
    noise = np.random.default_rng(0).normal(50, 3, (256, 200))
    _, power = radial_spectrum(noise)
    assert power[3:].mean() == pytest.approx(9, rel=0.05)
    assert power[50:].std() < 2


@given(st.integers(20, 700), st.integers(20, 700), st.integers(1, 5), st.integers(0, 3))
def test_window_lies_on_the_low_grid_inside_the_plane(height: int, width: int, factor: int, crop: int) -> None:
    height, width = height // factor * factor, width // factor * factor
    truth = np.random.default_rng(height + width).random((height, width), dtype=np.float32)
    (y, x), (h, w) = choose_window(truth, factor=(factor, factor), crop=(crop * factor, crop * factor))
    assert y >= 0 and x >= 0 and y + h <= height and x + w <= width
    assert all(value % factor == 0 for value in (y, x, h, w))
    assert min(height, WINDOW) - factor < h <= WINDOW and min(width, WINDOW) - factor < w <= WINDOW


def test_window_avoids_empty_background() -> None:
    truth = np.zeros((768, 768))
    truth[500:700, 500:700] = np.random.default_rng(0).random((200, 200))
    (y, x), (h, w) = choose_window(truth, factor=(4, 4), crop=(32, 32))
    assert truth[y : y + h, x : x + w].std() > 0.1


def test_exhibit_shows_the_same_field_in_every_picture() -> None:
    truth = data.camera()[:400, :400].astype(np.float32)
    low = truth[::4, ::4]
    exhibit = make_exhibit(
        low,
        {"bicubic": np.kron(low, np.ones((4, 4))), "truth": truth},
        label="p",
        factor=(1, 4, 4),
        crop=(32, 32),
        pixel_size=None,
    )
    np.testing.assert_array_equal(np.kron(exhibit.crops["low"], np.ones((4, 4))), exhibit.crops["bicubic"])
    assert list(exhibit.crops) == ["low", "bicubic", "truth"]
    assert exhibit.spectra["truth"].shape == exhibit.frequencies.shape


@given(hnp.arrays(np.float64, (5, 7), elements=st.floats(-10, 300)))
def test_png_holds_the_grey_levels(image: np.ndarray) -> None:
    uri = png_uri(image, (0.0, 255.0))
    content = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    np.testing.assert_array_equal(iio.imread(io.BytesIO(content)), np.rint(np.clip(image, 0, 255)).astype(np.uint8))


def test_png_of_nan_is_black() -> None:
    content = base64.b64decode(png_uri(np.full((2, 2), np.nan), (0, 1)).split(",")[1])
    assert not iio.imread(io.BytesIO(content)).any()


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(3, 10))
def test_ticks_are_round_and_inside(low: float, width: float, wanted: int) -> None:
    ticks = nice_ticks(low, low + width, wanted=wanted)
    assert 1 <= len(ticks) <= wanted + 2
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in ticks)


def test_chart_is_well_formed_and_names_its_lines() -> None:
    x = np.linspace(0, 0.5, 20)
    lines = [
        Line("a < b", x, np.sin(x), "#111111"),
        Line("gap", x, np.where(x < 0.2, np.nan, x), "#d1480f", dashed=True),
        Line("nothing", x, np.full_like(x, np.inf), "#2f6fb3"),
    ]
    chart = ET.fromstring(line_chart(lines, title="T & S", x_label="x (µm)", y_label="y", marks=[Mark(0.25, "here")]))
    texts = {element.text for element in chart.iter() if element.tag.endswith("text")}
    assert {"a < b", "gap", "nothing", "x (µm)", "y", "here"} <= texts
    assert "nan" not in ET.tostring(chart, encoding="unicode")


@pytest.mark.parametrize("values", [np.zeros(5), np.full(5, np.nan), np.array([1e-12, 2e-12, 0, 0, 0])])
def test_chart_of_flat_or_missing_values_still_draws(values: np.ndarray) -> None:
    ET.fromstring(line_chart([Line("v", np.arange(5.0), values, "#000")], title="t", x_label="x", y_label="y"))


def test_a_long_legend_goes_on_in_rows_within_the_chart() -> None:
    names = [f"method number {n}" for n in range(9)]
    x = np.linspace(0, 1, 5)
    chart = line_chart([Line(name, x, x, "#000") for name in names], title="t", x_label="x", y_label="y")
    root = ET.fromstring(chart)
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    texts = [item for item in root.iter() if item.tag.endswith("text") and item.text in names]
    places = {(float(item.attrib["x"]), float(item.attrib["y"])) for item in texts}
    assert len(places) == len(texts) == 9 and len({y for _, y in places}) > 1
    assert all(left <= x <= left + width - 7 * len(names[0]) and top + 10 <= y <= top + height for x, y in places)
