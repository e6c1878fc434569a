"""Means and intervals over acquisitions; the JSON report comes back equal."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from superres.errors import InputError, MissingFileError
from superres.evaluation.metrics import Scores
from superres.evaluation.results import (
    MODEL,
    AcquisitionResult,
    Agreement,
    Evaluation,
    GuardEffect,
    best_methods,
    evaluation_to_json,
    gains_over,
    load_evaluation,
    mean_over_acquisitions,
    verdict,
)


def scores(psnr: float, ssim: float = 0.5) -> Scores:
    figures = {"ms_ssim": 0.9, "micro_ssim": ssim / 2, "resolution": 3.0, "error_below": 0.1, "error_above": 0.9}
    shifted = {"psnr_shifted": psnr, "shift_y": 0.1, "shift_x": 0.0}
    return Scores(psnr, psnr + 1, ssim, 0.1, 1.0, 0.0, 0.9, 1.0, **figures, **shifted)


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
        resolution_um={"bicubic": 0.3, MODEL: math.inf},
        correlation={"bicubic": (1.0, 0.5), MODEL: ()},
        psnr_ceiling=31.5,
        warnings=("one plane left out",) if name == "b" else (),
        guard=GuardEffect(0.9, 0.05, scores(model - 1)),
        agreement={"truth": Agreement(1.0, 4.0, 0.0)},
        without_value={"ms_ssim": "below 176 voxels"},
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
    assert json.loads(text)["schema"] == "superres-report-3"
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


def test_every_acquisition_counts_once() -> None:
    found = [acquisition("a", 20.0, 22.0), acquisition("b", 30.0, 31.0)]
    assert mean_over_acquisitions(found, ("bicubic", MODEL))[MODEL].psnr == pytest.approx(26.5)
    gain = gains_over(found, ["bicubic"])["bicubic"]
    assert gain.psnr.interval.mean == pytest.approx(1.5)
    assert gain.psnr.wins == 2


def made_evaluation(found: tuple[AcquisitionResult, ...], folder: Path) -> Evaluation:
    methods = ("nearest", "bicubic", MODEL)
    return Evaluation(
        report=folder / "report.html",
        data=folder / "report.json",
        methods=methods,
        reference="bicubic",
        acquisitions=found,
        skipped={},
        mean=mean_over_acquisitions(found, methods),
        gains=gains_over(found, methods[:2]),
        conventions={},
    )


def test_verdict_names_what_is_better_and_what_is_not_shown(tmp_path: Path) -> None:
    found = []
    for number in range(8):
        nearest, sign = 20.0 + number, 1 if number % 2 else -1
        one = acquisition(str(number), nearest + 2 + 0.1 * sign, nearest + 2)
        found.append(replace(one, scores={"nearest": scores(nearest, 0.8), **one.scores}))
    evaluation = made_evaluation(tuple(found), tmp_path)
    psnr, described = verdict(evaluation)
    assert psnr == (
        "PSNR, 8 acquisitions: superres is better than nearest (p 0.016); not shown to differ from bicubic (p 1)."
    )
    assert described.startswith("Ahead of superres on average, described and not tested: in SI-PSNR ")
    assert described.endswith("in SSIM nearest; in MicroSSIM nearest; in Resolution (FRC with truth) no baseline.")


def test_a_finer_resolution_is_a_gain() -> None:
    one = acquisition("a", 20.0, 22.0)
    finer = replace(one, scores={**one.scores, MODEL: replace(one.scores[MODEL], resolution=2.5)})
    gain = gains_over([finer], ["bicubic"])["bicubic"]
    assert gain.resolution.interval.mean == 0.5
    assert gain.resolution.wins == 1


def test_figures_without_a_value_are_left_out_of_the_comparison_and_counted() -> None:
    found = [acquisition("a", 20.0, 22.0), acquisition("b", 20.0, math.nan), acquisition("c", math.inf, math.inf)]
    gain = gains_over(found, ["bicubic"])["bicubic"].psnr
    assert (gain.interval.n, gain.interval.mean, gain.wins) == (2, 1.0, 1)


def test_best_is_the_largest_except_for_errors() -> None:
    table = {"a": scores(20.0), "b": scores(22.0), "c": scores(math.nan)}
    assert best_methods(table, "psnr") == {"b"}
    assert best_methods(table, "nrmse") == {"a", "b", "c"}
    assert best_methods({"c": scores(math.nan)}, "psnr") == set()
