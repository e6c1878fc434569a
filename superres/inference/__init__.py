"""Inference: tile plan, predictor, and the local engine that writes shard by shard."""

from superres.inference.engine import UpscaleSummary, upscale
from superres.inference.plan import TilePlan, plan_tiles
from superres.inference.predictor import Predictor, load_model

__all__ = ["Predictor", "TilePlan", "UpscaleSummary", "load_model", "plan_tiles", "upscale"]
