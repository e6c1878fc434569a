"""Settings of how a net is trained: losses, optimiser, patches."""

from __future__ import annotations

from pydantic import Field

from superres.settings import Range, Settings


class LossConfig(Settings):
    """Weights of the loss; `frequency` and `feature` are shares of the whole, measured once and then frozen."""

    charbonnier_epsilon: float = Field(1e-3, gt=0)
    frequency: float = Field(0.05, ge=0, lt=1)
    feature: float = Field(0.2, ge=0, lt=1)
    feature_from: float = Field(0.75, ge=0, le=1, description="share of the training after which features count")
    feature_net_steps: int = Field(200, ge=1, description="steps that train the feature network")


class OptimiserConfig(Settings):
    """AdamW with decoupled weight decay under a one-cycle schedule with inverse momentum."""

    learning_rate: float = Field(1.5e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the training in which the learning rate rises")
    momentum: Range = Field((0.85, 0.95), description="lowest (at the peak learning rate) and highest beta1")
    beta2: float = Field(0.99, gt=0, lt=1)
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights that are saved")


class PatchConfig(Settings):
    """Size of a training patch in low-resolution voxels, and patches per step."""

    size: int = Field(48, ge=8, description="low-resolution voxels, a multiple of the net's stride")
    batch: int = Field(8, ge=1)
