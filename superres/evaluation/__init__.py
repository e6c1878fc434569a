"""Scoring against truth: metrics, baselines, and the report."""

from __future__ import annotations

from superres.evaluation.metrics import Scores
from superres.evaluation.protocol import control, evaluate
from superres.evaluation.results import MODEL, Evaluation, load_evaluation

__all__ = ["MODEL", "Evaluation", "Scores", "control", "evaluate", "load_evaluation"]
