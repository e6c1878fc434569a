"""From sharp images to what the microscope would have recorded: blur, sampling, noise; and range augmentation."""

from superres.degrade.augment import augment_range, own_range
from superres.degrade.chain import degrade, degrade_image

__all__ = ["augment_range", "degrade", "degrade_image", "own_range"]
