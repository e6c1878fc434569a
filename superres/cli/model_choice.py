"""``superres upscale`` without a model: say which one is for the input, why, and what to type; nothing is done."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from superres.errors import ConfigError, InputError
from superres.progress import ProgressCallback

if TYPE_CHECKING:
    from superres.config import UpscaleConfig


def refuse_without_model(
    inputs: Sequence[Path], out: Path | None, overrides: Sequence[str], progress: ProgressCallback
) -> NoReturn:
    """Look at the first input, and end with a suggestion.

    Raises
    ------
    ConfigError
        Always: it holds the suggestion.
    InputError
        When the input cannot be read.
    """
    from superres.sharing import bundled_models

    if not bundled_models():
        raise ConfigError("give --model: a file or run folder (this package holds no models of its own)")
    from superres.config import UpscaleConfig, load_config
    from superres.sharing.suggest import look_at, suggest
    from superres.volumes import open_volume

    # The settings of `upscale` that say how a file is to be read.
    config = load_config(UpscaleConfig, None, overrides, model=Path("none"))
    first = _first(inputs, config, progress)
    found = suggest(look_at(open_volume(first, axes=config.axes, voxel_size=config.voxel_size)))
    lines = [f"{first}: no model was given", *found.reasons]
    lines += [f"But {warning}." for warning in found.warnings]
    if found.name is None:
        lines.append("Give --model: a file, a run folder or an address.")
    else:
        target = out or Path(f"{first.name.partition('.')[0]}.ome.zarr" if len(inputs) == 1 else "upscaled")
        told = [word for one in overrides for word in ("--set", one)]
        command = ["superres", "upscale", *map(str, inputs), "--model", found.name, "--out", str(target), *told]
        lines += [f"Suggested is {found.name} ('superres models info {found.name}' says what it can). To use it, type:"]
        lines += [f"  {shlex.join(command)}"]
    raise ConfigError("\n".join(lines))


def _first(inputs: Sequence[Path], config: UpscaleConfig, progress: ProgressCallback) -> Path:
    """Return the first input that can be read, of folders the first in them."""
    from superres.volumes.collection import find_acquisitions, is_single

    if not inputs[0].is_dir() or is_single(inputs[0]):
        return inputs[0]
    found = find_acquisitions(inputs, axes=config.axes, voxel_size=config.voxel_size, apart=True, progress=progress)
    readable = [one for one in found if one.error is None]
    if not readable:
        raise InputError(f"{inputs[0]}: holds no image that can be read; 'superres info {inputs[0]}' says why")
    return Path(readable[0].path)
