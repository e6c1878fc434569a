"""Inference: tile plan, predictor, and the local engine that writes shard by shard."""

from superres.inference.engine import UpscaleSummary, upscale
from superres.inference.loading import load_model
from superres.inference.plan import TilePlan, plan_tiles
from superres.inference.predictor import Predictor

__all__ = ["Predictor", "TilePlan", "UpscaleSummary", "load_model", "plan_tiles", "upscale"]
