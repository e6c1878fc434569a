"""Training: losses, schedule, the loop, the run folder."""

from superres.training.configure import Proposal, configure, known_recipe
from superres.training.finder import RateCurve, find_learning_rate
from superres.training.loop import TrainResult, train

__all__ = ["Proposal", "RateCurve", "TrainResult", "configure", "find_learning_rate", "known_recipe", "train"]
