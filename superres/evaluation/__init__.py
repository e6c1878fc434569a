"""Scoring against truth: metrics, baselines, and the report."""

from __future__ import annotations

from superres.evaluation.calibration import Calibration, CoverageCheck, calibrate, check_coverage
from superres.evaluation.metrics import Scores
from superres.evaluation.protocol import control, evaluate
from superres.evaluation.results import MODEL, Evaluation, load_evaluation

__all__ = [
    "MODEL",
    "Calibration",
    "CoverageCheck",
    "Evaluation",
    "Scores",
    "calibrate",
    "check_coverage",
    "control",
    "evaluate",
    "load_evaluation",
]
