"""Settings of how a net is trained: phases as rows, their losses, the feature network, the critic, the optimiser.

A phase is a share of the training with losses, a learning rate and a patch size of its own. The presets are nothing but
rows, and what a preset stands for is written out in the recipe of every run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from superres.settings import Range, Settings

LARGEST_GAN_SHARE = 0.05
"""Share of a training in which generator and critic may learn together: longer, and a net begins to invent."""

# Of a training that starts from a model: the head's share, its learning rate, and that of all layers after it.
HEAD_SHARE = 0.1
HEAD_RATE = 1.0
TUNING_RATE = 1.0

_Part = Annotated[float, Field(ge=0, lt=1)]
_Label = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]


class LossConfig(Settings):
    """The distance that every phase has: Charbonnier, L1 with a smooth bottom."""

    charbonnier_epsilon: float = Field(1e-3, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _moved(cls, data: Any) -> Any:
        moved = {
            "frequency": "a share of a phase: phases: [{name: fidelity, share: 1, losses: {frequency: 0.05}}]",
            "feature": "a share of a phase: give preset: quantitative for none, or rows such as "
            "phases: [{name: fidelity, share: 0.75, losses: {frequency: 0.05}}, "
            "{name: perceptual, share: 0.25, losses: {frequency: 0.05, feature: 0.2}}]",
            "feature_from": "where a row of phases begins: phases: [{name: fidelity, share: 0.75}, "
            "{name: perceptual, share: 0.25, losses: {feature: 0.2}}]",
            "feature_net_steps": "features.steps",
        }
        found = [f"loss.{key} is now {moved[key]}" for key in data if key in moved] if isinstance(data, dict) else []
        if found:
            raise ValueError("; ".join(found))
        return data


class Losses(Settings):
    """Shares that terms have of the whole loss of a phase; what is left is the Charbonnier distance.

    The shares are held: the size of every term is measured all along, and its factor follows. `feature` compares
    activations of the feature network, `gram` their correlations (texture without place), `adversarial` is the critic's
    opinion and belongs to phases that train both.
    """

    frequency: _Part = 0.0
    feature: _Part = 0.0
    gram: _Part = 0.0
    adversarial: _Part = 0.0

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if (total := sum(self.shares().values())) >= 1:
            raise ValueError(f"shares of the loss add up to {total:g}; leave something of 1 to the distance to truth")
        return self

    def shares(self) -> dict[str, float]:
        """Return the shares that are not 0, by the name of the term."""
        return {name: share for name, share in self if share > 0}


class Phase(Settings):
    """A part of the training.

    `trains` says who learns: the generator; the critic alone, on what the generator makes beside truth; or both in
    turns. `rate` is a factor on the learning rate of the schedule, which ends with the last phase of the
    generator alone; phases that train both have a constant rate, `rate` times the peak. `layers` says which layers of
    the generator learn: all, or the head alone, the layers next to the input and to the output.
    """

    name: _Label
    share: float = Field(gt=0, le=1, description="of the steps, or of the time budget")
    trains: Literal["generator", "critic", "both"] = "generator"
    layers: Literal["all", "head"] = Field("all", description="head: the first and the last layer only")
    losses: Losses = Losses()
    rate: float = Field(1.0, gt=0)
    patch: int | None = Field(None, ge=8, description="side in low-resolution voxels; default patch.size")
    batch: int | None = Field(None, ge=1, description="patches per step; default patch.batch")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.losses.adversarial > 0) != (self.trains == "both"):
            raise ValueError(
                f"phase {self.name}: losses.adversarial and trains: both belong together; got "
                f"adversarial {self.losses.adversarial:g} and trains {self.trains}"
            )
        if self.layers == "head" and self.trains != "generator":
            raise ValueError(f"phase {self.name}: layers: head belongs to trains: generator; got {self.trains}")
        return self


class LayerRates(Settings):
    """Factors on the learning rate from part to part of the net, for a training that starts from a model.

    What is far from input and output has learnt what images are like, and changes least (discriminative rates, Howard &
    Ruder 2018, arXiv 1801.06146). `head` is the first and the last layer, with the one that predicts intervals.
    """

    head: float = Field(1.0, gt=0)
    decoder: float = Field(0.3, gt=0)
    middle: float = Field(0.1, gt=0)
    encoder: float = Field(0.1, gt=0)


def _rows(*rows: dict[str, Any]) -> tuple[Phase, ...]:
    return tuple(Phase.model_validate(row) for row in rows)


_PLAIN = {"frequency": 0.05}
_PERCEPTUAL = {"frequency": 0.05, "feature": 0.2}

PRESETS: dict[str, tuple[Phase, ...]] = {
    # for measurement: nothing rewards texture
    "quantitative": _rows({"name": "fidelity", "share": 1.0, "losses": _PLAIN}),
    "balanced": _rows(
        {"name": "fidelity", "share": 0.75, "losses": _PLAIN},
        {"name": "perceptual", "share": 0.25, "losses": _PERCEPTUAL},
    ),
    # for looking at: a critic shapes the last few per cent
    "display": _rows(
        {"name": "fidelity", "share": 0.71, "losses": _PLAIN},
        {"name": "perceptual", "share": 0.24, "losses": _PERCEPTUAL},
        {"name": "critic", "share": 0.02, "trains": "critic"},
        {
            "name": "gan",
            "share": 0.03,
            "trains": "both",
            "losses": _PERCEPTUAL | {"adversarial": 0.1},
            "rate": 0.05,
        },
    ),
}

Preset = Literal["quantitative", "balanced", "display"]

# The feature loss of the others raised no figure where it was measured, and took more time (docs/ablations.md).
DEFAULT_PRESET: Preset = "quantitative"


def rows_of(preset: str, *, head_first: bool) -> tuple[Phase, ...]:
    """Return the rows that a preset stands for; where layers learn at rates of their own, the head learns first.

    The head phase takes its share from the first row and has the losses of it.
    """
    rows = PRESETS[preset]
    if not head_first:
        return rows
    first = rows[0]
    head = Phase(name="head", share=HEAD_SHARE, layers="head", losses=first.losses, rate=HEAD_RATE)
    rest = first.model_copy(update={"share": first.share - HEAD_SHARE})
    slower = [row.model_copy(update={"rate": row.rate * TUNING_RATE}) for row in (rest, *rows[1:])]
    return head, *slower


def fill_in_phases(data: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a training with the rows that its preset stands for.

    Raises
    ------
    ValueError
        When a preset and other rows are given: two answers to one question.
    """
    preset, rows = data.get("preset"), data.get("phases")
    head_first = data.get("start_from") is not None and data.get("layer_rates") is not None
    if rows is None or rows == () or rows == []:
        name = DEFAULT_PRESET if preset is None else preset
        return data | {"preset": name, "phases": rows_of(name, head_first=head_first)} if name in PRESETS else data
    expected = rows_of(preset, head_first=head_first) if preset in PRESETS else ()
    if preset in PRESETS and [_plain(row) for row in rows] != [row.model_dump() for row in expected]:
        raise ValueError(
            f"preset {preset} and phases both say what the phases are; remove one of them, or give phases=[] to have "
            "the preset's"
        )
    return data


def _plain(row: object) -> object:
    try:
        return Phase.model_validate(row).model_dump()
    except ValueError:
        return row


def check_phases(rows: Sequence[Phase]) -> None:
    """Refuse rows that make no training.

    Raises
    ------
    ValueError
        When shares do not add up to 1, names repeat, the critic comes too early, or too much of the training is a GAN.
    """
    total = math.fsum(row.share for row in rows)
    if abs(total - 1) > 1e-6:
        given = " + ".join(f"{row.share:g} ({row.name})" for row in rows)
        raise ValueError(f"the shares of the phases add up to {total:g}, not to 1: {given}; change one of them")
    names = [row.name for row in rows]
    if len(set(names)) < len(names):
        raise ValueError(f"phases need names of their own; got {', '.join(names)}")
    order = [row.trains for row in rows]
    first = next((i for i, who in enumerate(order) if who != "generator"), len(order))
    if first == 0 or "generator" in order[first:]:
        raise ValueError("phases that train a critic come last, after at least one that trains the generator")
    if "both" in order and order[first] != "critic":
        raise ValueError(
            f"phase {names[first]} trains both, but no critic was trained before; put a row such as "
            "{name: critic, share: 0.02, trains: critic} before it"
        )
    if first < len(order) and "both" not in order:
        raise ValueError(f"phase {names[first]} trains a critic that no later phase uses; add a phase that trains both")
    joint = math.fsum(row.share for row in rows if row.trains == "both")
    if joint > LARGEST_GAN_SHARE + 1e-9:
        raise ValueError(
            f"generator and critic learn together in {joint:.1%} of the training; at most {LARGEST_GAN_SHARE:.0%} is "
            "allowed, since longer trainings begin to invent"
        )


class FeatureConfig(Settings):
    """The network whose activations the feature and Gram losses compare.

    `own` is a small network trained for a minute on the sharp images of the training, `random` the same network
    untrained, `vgg16` the one of Simonyan & Zisserman 2014 with ImageNet weights from a file.
    """

    net: Literal["own", "vgg16", "random"] = "own"
    weights: Path | None = Field(None, description="vgg16: torchvision's vgg16-397923af.pth, or a .safetensors of it")
    download: bool = Field(False, description="vgg16: fetch the weights (528 MB, once) where no file is given")
    layers: tuple[str, ...] = Field((), description="default stage1, stage2, stage3; of vgg16 relu2_2, relu3_3")
    layer_weights: tuple[float, ...] = Field((), description="one per layer; default equal")
    steps: int = Field(200, ge=1, description="own: steps that train the network")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.layer_weights and len(self.layer_weights) != len(self.layers):
            raise ValueError(f"layer_weights has {len(self.layer_weights)} numbers for {len(self.layers)} layers")
        if self.layer_weights and (min(self.layer_weights) < 0 or sum(self.layer_weights) == 0):
            raise ValueError("layer_weights are not negative, and not all 0")
        if self.net != "vgg16" and (self.weights is not None or self.download):
            raise ValueError(f"weights and download belong to net: vgg16; the net here is {self.net}")
        if self.net == "vgg16" and self.weights is None and not self.download:
            raise ValueError(
                "net: vgg16 needs its weights: give features.weights=vgg16-397923af.pth (torchvision's file), or "
                "features.download=true where there is a network"
            )
        return self


class GanConfig(Settings):
    """Critic and turns of the phases that train both.

    `adaptive` gives the critic turns until its loss, smoothed, falls below `threshold`, but never more than
    `critic_steps` in a row; `fixed` gives it exactly `critic_steps` for one of the generator.
    """

    switcher: Literal["adaptive", "fixed"] = "adaptive"
    threshold: float = Field(0.65, gt=0, description="log 2 = 0.693 is a critic that tosses coins")
    critic_steps: int = Field(3, ge=1, le=20)
    critic_learning_rate: float = Field(4e-4, gt=0)


class MuonConfig(Settings):
    """Muon, where `optimiser.kind` names it; it makes the steps of the kernels in the body of the net."""

    learning_rate: float = Field(0.02, gt=0, description="at the peak of the schedule; 0.01 to 0.04 are usual")
    weight_decay: float = Field(0.0, ge=0)


class OptimiserConfig(Settings):
    """The optimiser with decoupled weight decay, and how its learning rate and momentum go.

    `adamw` is AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101). `muon` gives the kernels of the body to Muon (Jordan
    2024, kellerjordan.github.io/posts/muon), whose steps are orthogonalised gradients, and leaves biases, first layer,
    last layer and interval head to AdamW.

    All schedules warm up alike. `one-cycle` then falls to zero, with inverse momentum (Smith 2018, arXiv 1803.09820);
    `cosine` falls the same way with constant momentum, the highest (Loshchilov & Hutter 2017, arXiv 1608.03983, without
    restarts); `constant` stays. The rates of AdamW and Muon rise and fall together.
    """

    kind: Literal["adamw", "muon"] = "muon"
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    learning_rate: float = Field(1.5e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    muon: MuonConfig = MuonConfig()
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the training in which the learning rate rises")
    momentum: Range = Field((0.85, 0.95), description="lowest (at the peak learning rate) and highest beta1")
    beta2: float = Field(0.99, gt=0, lt=1)
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights that are saved")

    @model_validator(mode="after")
    def _muon_is_used(self) -> Self:
        if self.kind != "muon" and self.muon != MuonConfig():
            raise ValueError(f"muon.learning_rate and muon.weight_decay belong to kind: muon; the kind is {self.kind}")
        return self
