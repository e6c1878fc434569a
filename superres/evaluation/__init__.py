"""Scoring against truth: metrics, baselines, and the report."""

from __future__ import annotations

from superres.evaluation.metrics import Scores
from superres.evaluation.protocol import evaluate
from superres.evaluation.results import MODEL, Evaluation, load_evaluation

__all__ = ["MODEL", "Evaluation", "Scores", "evaluate", "load_evaluation"]
