"""The picture of where a model did worst: which acquisitions, in which order, and what is in it."""

from __future__ import annotations

import math
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from superres.evaluation.exhibits import make_exhibit
from superres.evaluation.metrics import Scores
from superres.evaluation.results import MODEL, AcquisitionResult, Evaluation
from superres.evaluation.worst import worst, write_worst


def scores(psnr: float) -> Scores:
    return Scores(psnr, psnr, 0.5, 0.1, 1.0, 0.0, 0.9, 1.0)


def evaluation(folder: Path, gains: dict[str, float], methods: tuple[str, ...] = ("bicubic", MODEL)) -> Evaluation:
    found = tuple(
        AcquisitionResult(
            "set", name, "s", "l", "c", ("a.tif",), 1, (64, 64), (None, None, None), (1.0,), "given",
            scores={methods[0]: scores(20.0), MODEL: scores(20.0 + gain)},
        )
        for name, gain in gains.items()
    )  # fmt: skip
    return Evaluation(folder / "report.html", folder / "report.json", methods, methods[0], found, {}, {}, {}, {})


def test_the_smallest_gains_come_first(tmp_path: Path) -> None:
    gains = {"a": 1.0, "b": -2.0, "c": 0.5, "d": 3.0, "e": math.nan}
    assert [tuple(gains)[number] for number in worst(evaluation(tmp_path, gains))] == ["e", "b", "c"]
    assert worst(evaluation(tmp_path, gains, ("bicubic",))) == ()


def test_the_picture_has_a_row_for_each_and_goes_with_its_report(tmp_path: Path) -> None:
    truth = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    low = truth.reshape(32, 2, 32, 2).mean(axis=(1, 3))
    planes = {"bicubic": np.kron(low, np.ones((2, 2), np.float32)), MODEL: truth, "truth": truth}
    exhibit = make_exhibit(low, planes, label="a", factor=(1, 2, 2), crop=(0, 0), pixel_size=None)
    made = evaluation(tmp_path, {"a": 1.0, "b": 2.0})
    write_worst(made, [exhibit, exhibit])
    (path,) = tmp_path.iterdir()
    picture = iio.imread(path)
    rows, columns = 2, 5
    assert picture.shape == (18 + rows * (192 + 18 + 6), 6 + columns * (192 + 6), 3)
    side = exhibit.crops["truth"].shape[0]
    low_, plain, model, true, error = (
        picture[36 : 36 + side, 6 + column * 198 : 6 + column * 198 + side].astype(int) for column in range(columns)
    )
    np.testing.assert_array_equal(model, true)
    np.testing.assert_array_equal(low_, plain)
    assert (error == 255).all(), "no error is white"
    write_worst(made, [])
    assert not list(tmp_path.iterdir())


def test_without_upscaling_the_input_stands_for_interpolation(tmp_path: Path) -> None:
    truth = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    planes = {"input": truth, MODEL: truth, "truth": truth}
    exhibit = make_exhibit(truth, planes, label="a", factor=(1, 1, 1), crop=(0, 0), pixel_size=None)
    write_worst(evaluation(tmp_path, {"a": 1.0}, ("input", MODEL)), [exhibit])
    assert iio.imread(tmp_path / "worst.png").shape == (18 + 216, 996, 3)
