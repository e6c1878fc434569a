"""``superres info``: what a file is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from superres.cli import output
from superres.cli.application import STARTS_ANEW, AsJson, Overrides, app, examples, job


@app.command(
    epilog=examples(
        "superres info stack.tif", "superres info stack.tif --axes ZYX", "superres info model.safetensors --json"
    )
)
def info(
    path: Annotated[Path, typer.Argument(help="An image, a volume, a model file or a run folder.")],
    axes: Annotated[str | None, typer.Option(help="Axes where the file does not tell, such as ZYX.")] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Tell what an image or a model is: axes, sizes, voxel size; factor, training, figures."""
    with job(STARTS_ANEW):
        if path.suffix == ".safetensors" or (path / "model.safetensors").is_file():
            from superres.modelfile import load_model_file

            output.show_model(load_model_file(path), as_json=as_json)
        else:
            from superres.config import UpscaleConfig, load_config
            from superres.volumes import open_volume

            # The settings of `upscale` that say how a file is to be read.
            config = load_config(UpscaleConfig, None, overrides or (), model=path, axes=axes)
            volume = open_volume(path, axes=config.axes, voxel_size=config.voxel_size)
            output.show_volume(volume, axes_given=config.axes is not None, as_json=as_json)
