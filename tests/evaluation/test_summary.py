"""What a report says in sentences, and its Markdown and CSV: nothing but what the figures hold."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superres.evaluation.controls import Control
from superres.evaluation.metrics import Scores
from superres.evaluation.plain_report import report_csv, report_markdown
from superres.evaluation.results import MODEL, AcquisitionResult, Evaluation, gains_over, mean_over_acquisitions
from superres.evaluation.summary import ahead, in_words, ranked, strongest

METHODS = ("nearest", "bicubic", "richardson-lucy", MODEL)
CONVENTIONS: dict[str, Any] = {
    "model": {"name": "net"}, "manifests": [{"name": "set"}], "split": "val", "factor": [1, 2, 2],
    "versions": {"superres": "0"}, "created": "now", "command": "superres evaluate net",
}  # fmt: skip


def scores(psnr: float, ssim: float, resolution: float = 4.0) -> Scores:
    return Scores(psnr, psnr, ssim, 0.1, 0.9, 1.0, 0.9, 1.001, resolution=resolution)


def acquisition(name: str, found: Mapping[str, Scores], warnings: tuple[str, ...] = ()) -> AcquisitionResult:
    return AcquisitionResult(
        manifest="set", id=name, source="", licence="", credit="", planes=("a",), channels=1, shape=(64, 64),
        voxel_size=(None, 0.1, 0.1), data_range=(255.0,), data_range_from="given", dtype="uint8",
        scores=found, resolution_um=dict.fromkeys(found, 0.4), warnings=warnings,
    )  # fmt: skip


def evaluation(*found: AcquisitionResult, controls: tuple[Control, ...] = ()) -> Evaluation:
    return Evaluation(
        report=Path("report.html"), data=Path("report.json"), methods=METHODS, reference="bicubic",
        acquisitions=found, skipped={}, mean=mean_over_acquisitions(found, METHODS),
        gains=gains_over(found, METHODS[:-1]), conventions=CONVENTIONS, controls=controls,
    )  # fmt: skip


def simple(name: str, deconvolved: float, model: float, **more: Any) -> AcquisitionResult:
    psnr = dict(zip(METHODS, (20.0, 22.0, deconvolved, model), strict=True))
    return acquisition(name, {m: scores(value, 0.5) for m, value in psnr.items()}, **more)


figures = st.floats(10, 50) | st.just(math.nan)


@given(st.lists(st.tuples(figures, figures, figures), min_size=1, max_size=6))
def test_a_baseline_is_named_exactly_where_it_is_better(values: list[tuple[float, float, float]]) -> None:
    found = [
        acquisition(str(n), dict(zip(METHODS, (scores(5.0, 0.5), *(scores(v, 0.5) for v in row)), strict=True)))
        for n, row in enumerate(values)
    ]
    named = {one.acquisition for one in ahead(evaluation(*found)) if one.metric == "psnr"}
    for n, (bicubic, deconvolved, model) in enumerate(values):
        best = max([5.0, *(v for v in (bicubic, deconvolved) if not math.isnan(v))])
        assert (str(n) in named) == (math.isnan(model) or best > model)


@given(st.lists(st.floats(10, 50), min_size=1, max_size=8))
def test_ranking_is_by_the_gain(psnr: list[float]) -> None:
    found = evaluation(*(simple(str(n), 21.0, value) for n, value in enumerate(psnr)))
    order = ranked(found)
    assert sorted(order) == list(range(len(psnr)))
    assert [psnr[n] for n in order] == sorted(psnr, reverse=True)


def test_what_is_said_first() -> None:
    words = in_words(evaluation(simple("a", 24.0, 25.0), simple("b", 26.0, 25.0)))
    assert words[0] == (
        "On 2 acquisitions that the model was not trained on, superres is closer to truth than bicubic by 3.00 dB PSNR "
        "on average, and better in 2 of 2; as close to truth as richardson-lucy (the strongest baseline)."
    )
    assert words[1] == (
        "Of 2 acquisitions a baseline is ahead in PSNR on 1 (b: richardson-lucy 26.00, superres 25.00)."
    )
    assert "a period of 4.0 voxels (0.4 µm) of the result, with bicubic to 4.0" in words[3]
    assert words[2].startswith("No other trained net stands beside it")
    assert "no difference can be called significant" in words[-1]


def test_a_worse_model_and_images_it_was_trained_on() -> None:
    trained = ("the model was trained on this acquisition: its figures say nothing about new images",)
    found = evaluation(simple("a", 24.0, 21.0, warnings=trained), simple("b", 24.0, 21.0))
    first = in_words(found)[0]
    assert "1 of which the model was trained on" in first
    assert "further from truth than bicubic by 1.00 dB" in first
    assert strongest(found) == "richardson-lucy"


@pytest.mark.parametrize(("noise", "said"), [(0.8, "It invents nothing"), (1.5, "blank (noise 1.50, structure 0.90")])
def test_controls_in_words(noise: float, said: str) -> None:
    found = evaluation(simple("a", 24.0, 25.0), controls=(Control("blank", noise, 0.9),))
    assert sum(said in line for line in in_words(found)) == 1


def test_csv_holds_every_figure_exactly() -> None:
    found = evaluation(simple("a, with a comma", 24.123456789, 25.0), simple("b", math.nan, 25.0))
    rows = list(csv.DictReader(io.StringIO(report_csv(found))))
    assert len(rows) == 2 * len(METHODS)
    for row in rows:
        result = next(a for a in found.acquisitions if a.id == row["acquisition"])
        for item in dataclasses.fields(Scores):
            value = getattr(result.scores[row["method"]], item.name)
            assert float(row[item.name]) == pytest.approx(value, rel=1e-9, nan_ok=True)


def test_markdown_tables_are_whole() -> None:
    text = report_markdown(evaluation(simple("a|b", 24.0, 25.0), controls=(Control("blank", 0.5, 0.5),)))
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 4
    assert "not tested" in tables[1][3] and "| bicubic | PSNR |" in tables[1][7]
    for lines in tables:
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert "superres evaluate net" in text
