"""Settings: frozen pydantic models, YAML in and out, dotted overrides.

The same models are built by the CLI, the plugin and the batch. Nothing here reads images or imports torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from superres.errors import ConfigError
from superres.phases import FeatureConfig as FeatureConfig
from superres.phases import GanConfig as GanConfig
from superres.phases import LayerRates as LayerRates
from superres.phases import LossConfig as LossConfig
from superres.phases import MuonConfig as MuonConfig
from superres.phases import OptimiserConfig as OptimiserConfig
from superres.phases import Phase as Phase
from superres.phases import Preset, check_phases, fill_in_phases
from superres.recipe_files import beside, read_yaml, with_degradation
from superres.settings import ClusterConfig as ClusterConfig
from superres.settings import Context as Context
from superres.settings import CropConfig as CropConfig
from superres.settings import Device as Device
from superres.settings import Factor as Factor
from superres.settings import Halo as Halo
from superres.settings import ModelConfig as ModelConfig
from superres.settings import PatchConfig as PatchConfig
from superres.settings import Paths as Paths
from superres.settings import Precision as Precision
from superres.settings import Range as Range
from superres.settings import Seconds as Seconds
from superres.settings import Settings as Settings
from superres.settings import Shares, check_net
from superres.settings import WatchConfig as WatchConfig

# --- degradation -----------------------------------------------------------------------------------------------------


class Blur(Settings):
    """Gaussian blur by the microscope's point spread function, on the high-resolution grid.

    Give `sigma` in high-resolution voxels, or `na` and `wavelength` (micrometre), from which sigma is
    0.21 wavelength / NA (Zhang, Zerubia & Olivo-Marin 2007, Appl. Opt. 46:1819) divided by the voxel size.
    `haze` is the share of the light that is out of focus (widefield) and is spread by `haze_sigma` voxels instead.
    `axial_sigma` blurs along Z as well, in high-resolution voxels along Z; for nets of three dimensions.
    """

    sigma: Range | None = None
    na: float | None = Field(None, gt=0)
    wavelength: Range | None = None
    haze: Shares = (0.0, 0.0)
    haze_sigma: Range = (8.0, 8.0)
    axial_sigma: Range | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        optics = (self.na is not None, self.wavelength is not None)
        if (self.sigma is not None) == any(optics) or (any(optics) and not all(optics)):
            raise ValueError("give either sigma (in voxels) or both na and wavelength (in micrometre)")
        return self


class Poisson(Settings):
    """Photon or electron counting noise; `photons` is the count at the top of the grey range."""

    photons: Range


class ReadNoise(Settings):
    """Detector: multiply by `gain`, add `offset` and Gaussian noise of `sd`, as shares of the grey range."""

    sd: Range
    gain: Range = (1.0, 1.0)
    offset: Range = (0.0, 0.0)


class LineJitter(Settings):
    """Horizontal displacement of each scan line, Gaussian with `sd` in voxels of the grid it is applied on."""

    sd: Range


class DegradeStep(Settings):
    """Exactly one step of a degradation; a recipe lists steps in the order in which the microscope does them.

    ``downsample: binning`` averages voxels, ``downsample: subsampling`` keeps every n-th one. Noise placed before
    binning is averaged down, noise placed after it is not.
    """

    blur: Blur | None = None
    downsample: Literal["binning", "subsampling"] | None = None
    poisson: Poisson | None = None
    read_noise: ReadNoise | None = None
    line_jitter: LineJitter | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name, value in self if value is not None]
        if len(given) != 1:
            known = ", ".join(type(self).model_fields)
            raise ValueError(f"each step of degrade holds exactly one of {known}; got {given or 'none'}")
        return self


class Augment(Settings):
    """What is varied between patches besides the degradation.

    The range part (contrast, offset, rectangles) shows the net empty, saturated and faint areas that the training
    images lack. Nets trained without it collapse on such areas. `softer` and `noise` show it images that are less
    sharp, cleaner or noisier than those of the training; both change only low images that are made, not recorded ones.
    """

    flips: bool = True
    probability: float = Field(0.5, ge=0, le=1, description="share of patches with changed contrast and offset")
    contrast: Range = Field((0.4, 2.4), description="factor about the patch mean")
    offset: float = Field(0.27, ge=0, description="largest shift, as a share of the grey range")
    own_range: float = Field(
        0.5, ge=0, le=1, description="share of patches with black and white of their own, as in an image cut small"
    )
    coarser: float = Field(0.2, ge=0, le=1, description="share from sharp images binned 2 x 2: another magnification")
    rectangle: float = Field(0.2, ge=0, le=1, description="share of those patches with an empty or saturated rectangle")
    inversion: float = Field(
        0.0, ge=0, le=1, description="share of patches with bright and dark exchanged; for electron micrographs"
    )
    softer: float = Field(
        0.0, ge=0, le=1, description="share from sharp images that are blurred before the degradation"
    )
    softer_sigma: Range = Field((0.5, 2.0), description="of that blur, high-resolution voxels along Y and X")
    noise: Range = Field((1.0, 1.0), description="factor on the standard deviation of the noise, one for each patch")

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.softer_sigma[0] < 0 or self.noise[0] <= 0:
            raise ValueError(
                f"softer_sigma is not negative and noise is above 0, got {list(self.softer_sigma)} and "
                f"{list(self.noise)}; augment.softer=0 and augment.noise=1 switch them off"
            )
        return self


# --- training --------------------------------------------------------------------------------------------------------


class IntensityRule(Settings):
    """How black and white of a volume are measured: percentiles of its local averages, per channel, never per tile.

    Averaging first keeps noise from setting the scale, so that low and high recordings of one object agree.
    """

    percentiles: Range = (0.5, 99.9)
    average: int = Field(4, ge=1, description="low-resolution voxels averaged along Y and X before the percentiles")


class TrainConfig(Settings):
    """Everything that decides a training; written whole into run folder and model file."""

    name: str = Field("model", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    manifests: Paths
    data_root: Path | None = None
    factor: Factor
    channels: tuple[int, ...] | None = Field(None, description="channels to learn from, counted from 0; default all")
    image_count: int | None = Field(None, ge=1, description="files to learn from, drawn by the seed; default all")
    seed: int = Field(0, ge=0)
    device: Device = "auto"
    model: ModelConfig = ModelConfig()
    start_from: Path | None = Field(None, description="model file or run folder whose weights the training starts from")
    degrade: tuple[DegradeStep, ...] = Field((), description="steps, or a file written by 'superres degrade fit'")
    augment: Augment = Augment()
    patch: PatchConfig = PatchConfig()
    intensity: IntensityRule = IntensityRule()
    preset: Preset | None = Field(None, description="which phases; default quantitative, none where phases are given")
    phases: tuple[Phase, ...] = ()
    loss: LossConfig = LossConfig()
    features: FeatureConfig = FeatureConfig()
    gan: GanConfig = GanConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    layer_rates: LayerRates | None = Field(
        None, description="with start_from: the head first, the middle slower; {} has the usual rates"
    )
    steps: int | None = Field(None, ge=1, description="length of the training in steps")
    time_budget: Seconds | None = Field(None, description="length of the training in time; wins over steps")
    validate_every: int = Field(200, ge=1)
    sample_every: int = Field(200, ge=1)
    checkpoint_every: int = Field(200, ge=1)
    snapshots: int = Field(0, ge=0, description="evenly spaced weights that the run folder keeps, to draw their path")

    @model_validator(mode="before")
    @classmethod
    def _written_out(cls, data: Any) -> Any:
        if isinstance(data, dict) and "start" in data:
            raise ValueError(f"start is now start_from; give start_from={data['start']}")
        return fill_in_phases(data) if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_phases(self.phases)
        if self.steps is None and self.time_budget is None:
            raise ValueError("give the length of the training: steps (a number) or time_budget (such as 10min)")
        check_degrade(self.degrade, self.factor)
        check_net(self.model, self.factor, self.channels)
        if self.model.dimensions == 3 and any(phase.trains != "generator" for phase in self.phases):
            raise ValueError(
                "phases: the critic looks at planes, and the net has three dimensions; take preset=balanced"
            )
        if self.model.dimensions == 2 and any(step.blur and step.blur.axial_sigma for step in self.degrade):
            raise ValueError(
                "degrade: axial_sigma blurs along Z, which a net of two dimensions cannot undo; leave it out"
            )
        return self


def check_degrade(steps: tuple[DegradeStep, ...], factor: tuple[int, int, int]) -> None:
    """Refuse a degradation that does not bring the high grid to the low grid of `factor`.

    Raises
    ------
    ValueError
        When a downsampling step is missing, doubled, or has nothing to do.
    """
    downsamples = [step for step in steps if step.downsample is not None]
    if steps and max(factor) > 1 and len(downsamples) != 1:
        raise ValueError(
            f"factor {list(factor)} needs exactly one step 'downsample: binning' or 'downsample: subsampling' in "
            f"degrade; found {len(downsamples)}"
        )
    if downsamples and max(factor) == 1:
        raise ValueError("factor [1, 1, 1] leaves the grid alone; remove the downsample step from degrade")


# --- upscaling -------------------------------------------------------------------------------------------------------


class UpscaleConfig(Settings):
    """How a volume is upscaled; the same for CLI, plugin and batch."""

    model: Path
    axes: str | None = Field(None, description="axes of the input where the file does not tell, e.g. ZYX")
    voxel_size: tuple[float, float, float] | None = Field(None, description="ZYX in micrometre, if the file is wrong")
    channels: tuple[int, ...] | None = Field(None, description="channels to upscale, counted from 0; default all")
    crop: CropConfig | None = Field(None, description="part to upscale, e.g. {y: [0, 512], t: [3, 4]}; default all")
    dtype: Literal["keep", "uint8", "uint16", "float32"] = "keep"
    tile: int | None = Field(None, ge=16, description="largest tile side in input voxels; default chosen")
    shard: int | None = Field(None, ge=1, description="tiles along Y and X in one output file; default chosen")
    device: Device = "auto"
    precision: Precision = Field("exact", description="exact is float32; fast is bfloat16 where the device has it")
    halo: Halo = Field("exact", description="exact leaves no seams; fast reads half as far around tiles")
    guard: bool = Field(True, description="fall back on interpolation where the prediction is not to be believed")
    trust: bool = Field(True, description="write maps of how far to believe the output, and a summary")
    overwrite: bool = False
    # What says nothing of the output is left out of what stores record, and of what a resumed run compares.
    check_disk: bool = Field(True, exclude=True, description="refuse to start what the disk of the output cannot hold")
    watch: WatchConfig = Field(WatchConfig(), exclude=True, description="of --watch: when a file is complete")


# --- YAML and overrides ----------------------------------------------------------------------------------------------

SettingsT = TypeVar("SettingsT", bound=Settings)


def load_config(kind: type[SettingsT], path: Path | None, overrides: Iterable[str] = (), **values: object) -> SettingsT:
    """Read a recipe, apply dotted overrides, check everything.

    Parameters
    ----------
    kind : type
        The settings to build, e.g. `TrainConfig`.
    path : Path or None
        YAML recipe. Relative `manifests` in it, and a relative file that `degrade` names, are relative to the recipe;
        everything else to the working folder.
    overrides : iterable of str
        ``"model.preset=S"``; the value is read as YAML.
    **values
        Top-level settings that win over the recipe but not over `overrides`; None is left out.

    Raises
    ------
    ConfigError
        Naming every wrong key or value, and the nearest known key.
    MissingFileError
        When the recipe, or the file of a degradation that it names, is not there.
    """
    source, content = (str(path), read_yaml(path)) if path is not None else ("settings", {})
    for key in ("manifests", "degrade"):  # steps of a degradation are no names, and stay
        if path is not None and key in content:
            content[key] = beside(content[key], path.parent)
    content |= {key: value for key, value in values.items() if value is not None}
    for override in overrides:
        _apply_override(content, override)
    content = with_degradation(content)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError(_explain(error, kind, source)) from None


def dump_config(config: Settings) -> str:
    """Write settings as YAML that `load_config` reads back to an equal object."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _apply_override(content: dict[str, Any], override: str) -> None:
    key, found, text = override.partition("=")
    if not found or not key.strip():
        raise ConfigError(f"--set {override}: expected key=value, for example --set model.preset=S")
    *parents, leaf = key.strip().split(".")
    target: dict[str, Any] = content
    for parent in parents:
        inner = target.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override}: {parent} is not a group of settings")
        target = inner
    try:
        target[leaf] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is not valid YAML: {' '.join(str(error).split())}") from None


def _explain(error: ValidationError, kind: type[Settings], source: str) -> str:
    lines = [f"{source}: {error.error_count()} wrong setting{'s' if error.error_count() > 1 else ''}"]
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"  {where}: unknown key{_nearest(str(item['loc'][-1]), kind, item['loc'][:-1])}")
        elif item["type"] == "missing":
            lines.append(f"  {where}: missing, and it has no default; add it or give --set {where}=...")
        else:
            message = item["msg"].removeprefix("Value error, ")
            found = "" if isinstance(item["input"], Mapping) else f" (got {item['input']!r})"
            lines.append(f"  {where + ': ' if where else ''}{message}{found}")
    return "\n".join(lines)


def _nearest(key: str, kind: type[Settings], parents: tuple[int | str, ...]) -> str:
    """Name the known key closest to `key` in the group that `parents` leads to."""
    group: Any = kind
    for parent in parents:
        if isinstance(parent, int):
            continue
        field = group.model_fields.get(parent)
        if field is None:
            return ""
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        group = next((c for c in candidates if isinstance(c, type) and issubclass(c, Settings)), None)
        if group is None:
            return ""
    known = list(group.model_fields)
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known keys: {', '.join(known)}"
