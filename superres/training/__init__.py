"""Training: losses, schedule, the loop, the run folder; and a recipe for a folder of images."""

from superres.training.configure import configure
from superres.training.finder import find_learning_rate
from superres.training.loop import train
from superres.training.processes import is_first
from superres.training.result import TrainResult

__all__ = ["TrainResult", "configure", "find_learning_rate", "is_first", "train"]
