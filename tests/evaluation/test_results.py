"""Means and intervals over acquisitions; the JSON report comes back equal."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from superres.errors import InputError, MissingFileError
from superres.evaluation.metrics import Scores
from superres.evaluation.results import (
    MODEL,
    AcquisitionResult,
    Evaluation,
    best_methods,
    evaluation_to_json,
    gains_over,
    load_evaluation,
    mean_over_acquisitions,
    paired_interval,
)


def scores(psnr: float, ssim: float = 0.5) -> Scores:
    return Scores(psnr, psnr + 1, ssim, 0.1, 1.0, 0.0, 0.9, 1.0)


def acquisition(name: str, bicubic: float, model: float) -> AcquisitionResult:
    return AcquisitionResult(
        manifest="em",
        id=name,
        source="s",
        licence="l",
        credit="c",
        planes=("a.tif, z 3",),
        channels=1,
        shape=(64, 64),
        voxel_size=(None, 0.1, 0.1),
        data_range=(255.0,),
        data_range_from="max - min",
        scores={"bicubic": scores(bicubic), MODEL: scores(model, 0.7)},
        warnings=("one plane left out",) if name == "b" else (),
    )


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    found = (acquisition("a", 20.0, 22.0), acquisition("b", 25.0, math.inf))
    methods = ("bicubic", MODEL)
    return Evaluation(
        report=tmp_path / "report.html",
        data=tmp_path / "report.json",
        methods=methods,
        reference="bicubic",
        acquisitions=found,
        skipped={"c": "constant"},
        mean=mean_over_acquisitions(found, methods),
        gains=gains_over(found, ["bicubic"]),
        conventions={"seed": 0, "factor": [1, 4, 4]},
    )


def test_json_report_comes_back_equal(evaluation: Evaluation) -> None:
    text = evaluation_to_json(evaluation)
    evaluation.data.write_text(text, encoding="utf-8")
    loaded = load_evaluation(evaluation.data)
    assert evaluation_to_json(loaded) == text
    assert loaded.acquisitions == evaluation.acquisitions
    assert loaded.mean == evaluation.mean
    assert json.loads(text)["schema"] == "superres-report-1"
    assert "NaN" not in text and "Infinity" not in text


def test_warnings_name_their_acquisition(evaluation: Evaluation) -> None:
    assert evaluation.warnings == ("c left out: constant", "b: one plane left out")


def test_reports_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with pytest.raises(MissingFileError, match="no such report"):
        load_evaluation(path)
    for text, message in (("{", "not valid JSON"), ("{}", "schema None"), ("[]", "schema 'list'")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            load_evaluation(path)


def test_interval_is_that_of_a_paired_t_test() -> None:
    differences = np.random.default_rng(0).normal(1, 2, 7)
    found = paired_interval(differences.tolist())
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(differences.mean())
    assert found.n == 7


def test_interval_covers_at_its_nominal_rate() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(4000):
        found = paired_interval(random.normal(0.3, 1.0, 5).tolist())
        covered += found.low <= 0.3 <= found.high
    assert covered / 4000 == pytest.approx(0.95, abs=0.012)


def test_one_acquisition_has_no_interval() -> None:
    found = paired_interval([1.5])
    assert (found.mean, found.n) == (1.5, 1)
    assert math.isnan(found.low) and math.isnan(found.high)
    assert paired_interval([]).n == 0


def test_every_acquisition_counts_once() -> None:
    found = [acquisition("a", 20.0, 22.0), acquisition("b", 30.0, 31.0)]
    assert mean_over_acquisitions(found, ("bicubic", MODEL))[MODEL].psnr == pytest.approx(26.5)
    gain = gains_over(found, ["bicubic"])["bicubic"]
    assert gain.psnr.mean == pytest.approx(1.5)
    assert gain.wins == 2


def test_best_is_the_largest_except_for_errors() -> None:
    table = {"a": scores(20.0), "b": scores(22.0), "c": scores(math.nan)}
    assert best_methods(table, "psnr") == {"b"}
    assert best_methods(table, "nrmse") == {"a", "b", "c"}
    assert best_methods({"c": scores(math.nan)}, "psnr") == set()
