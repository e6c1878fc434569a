"""``superres info``: what a file, a folder of files or a model is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from superres.cli import images, output
from superres.cli.application import STARTS_ANEW, AsJson, Overrides, app, examples, job
from superres.progress import ProgressCallback

if TYPE_CHECKING:
    from superres.config import UpscaleConfig


@app.command(
    epilog=examples(
        "superres info stack.tif",
        "superres info stack.tif --axes ZYX --picture stack.png",
        "superres info folder",
        "superres info model.safetensors --json",
        "superres info sharp.ome.zarr --verify",
    )
)
def info(
    path: Annotated[
        str, typer.Argument(help="An image, one of several (file.lif::NAME), a pattern, a folder, a model or a run.")
    ],
    axes: Annotated[str | None, typer.Option(help="Axes where the file does not tell, such as ZYX.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Write a picture of every channel to this PNG.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Prove that every block of a store is there.")] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Tell what an image, a folder or a model is: axes, sizes, voxel size, intensities; factor, training, figures."""
    code = 0
    with job(STARTS_ANEW) as progress:
        folder = Path(path)
        if verify:
            code = _verify(folder, progress, as_json=as_json)
        elif folder.suffix == ".safetensors" or (folder / "model.safetensors").is_file():
            from superres.modelfile import load_model_file

            output.show_model(load_model_file(folder), as_json=as_json)
        else:
            from superres.config import UpscaleConfig, load_config

            # The settings of `upscale` that say how a file is to be read.
            config = load_config(UpscaleConfig, None, overrides or (), model=folder, axes=axes)
            code = _images(path, config, picture, progress, as_json=as_json)
    if code:
        raise typer.Exit(code)


def _images(
    path: str, config: UpscaleConfig, picture: Path | None, progress: ProgressCallback, *, as_json: bool
) -> int:
    """Show one image in full, or a table of several; return 1 if some cannot be read."""
    from superres.volumes.collection import find_acquisitions, holds_several
    from superres.volumes.opening import is_pattern

    # Given axes say what the numbers of a pattern's files count: one series.
    if (config.axes is not None and is_pattern(path)) or not holds_several(path):
        _image(path, config, picture, as_json=as_json)
        return 0
    found = find_acquisitions([path], axes=config.axes, voxel_size=config.voxel_size, progress=progress)
    if len(found) == 1 and found[0].error is None and not as_json:
        _image(found[0].path, config, picture, as_json=as_json)
        return 0
    images.show_collection(path, found, as_json=as_json)
    return 1 if any(one.error is not None for one in found) else 0


def _image(path: str, config: UpscaleConfig, picture: Path | None, *, as_json: bool) -> None:
    from superres.volumes import open_volume
    from superres.volumes.remarks import remarks
    from superres.volumes.survey import survey

    volume = open_volume(path, axes=config.axes, voxel_size=config.voxel_size)
    looked = survey(volume)
    if picture is not None:
        from superres.volumes.picture import write_picture

        write_picture(volume, picture)
    warnings = remarks(volume, looked)
    images.show_volume(volume, looked, warnings, axes_given=config.axes is not None, picture=picture, as_json=as_json)


def _verify(store: Path, progress: ProgressCallback, *, as_json: bool) -> int:
    """Check a store; return 2 if it is damaged."""
    from superres.volumes.verification import verify_store

    problems = verify_store(store, progress=progress)
    images.show_verification(store, problems, as_json=as_json)
    return 2 if problems else 0
