"""Training: losses, schedule, the loop, the run folder."""

from superres.training.loop import TrainResult, train

__all__ = ["TrainResult", "train"]
