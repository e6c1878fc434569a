"""The tables of an evaluation on the screen: nothing is lost in 80 columns, however many baselines were asked for."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from superres.cli import evaluation_output
from superres.cli.output import OUT
from superres.evaluation import Evaluation, Scores
from superres.evaluation.results import AcquisitionResult

METHODS = ("nearest", "bilinear", "bicubic", "lanczos", "nlm", "gaussian", "wiener", "unet", "superres")


@pytest.mark.parametrize("count", [1, 5, 9])
def test_every_method_is_readable(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    methods = METHODS[-count:]
    scores = {
        name: Scores(**{item.name: 20.5 + number for item in fields(Scores)}) for number, name in enumerate(methods)
    }
    acquisitions = tuple(
        AcquisitionResult("set", name, "", "", "", ("z 0",), 1, (64, 64), (None,) * 3, (1.0,), "given", scores)
        for name in ("a rather long name of a field", "b")
    )
    warning = {"warnings": ["nlm: tuned on the images that are scored"]}
    found = Evaluation(Path("r"), Path("d"), methods, "bicubic", acquisitions, {}, scores, {}, warning)
    assert found.warnings == ("nlm: tuned on the images that are scored",)
    monkeypatch.setattr(OUT, "width", 80)
    with OUT.capture() as capture:
        evaluation_output._show_scores(found)
    text = capture.get()
    assert all(len(line) <= 80 for line in text.splitlines()) and "…" not in text
    table = text[: text.index("moved")]
    assert all(name in table and f"{20.5 + number:.2f}" in table for number, name in enumerate(methods))
