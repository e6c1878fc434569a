"""Training: losses, schedule, the loop, the run folder."""

from superres.training.finder import RateCurve, find_learning_rate
from superres.training.loop import train
from superres.training.processes import is_first
from superres.training.result import TrainResult

__all__ = ["RateCurve", "TrainResult", "find_learning_rate", "is_first", "train"]
