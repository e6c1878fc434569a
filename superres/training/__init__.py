"""Training: losses, schedule, the loop, the run folder."""

from superres.training.finder import RateCurve, find_learning_rate
from superres.training.loop import TrainResult, train

__all__ = ["RateCurve", "TrainResult", "find_learning_rate", "train"]
