"""``superres info``: what a file, a folder of files or a model is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from superres.cli import images, output
from superres.cli.application import STARTS_ANEW, AsJson, Overrides, app, examples, job
from superres.errors import InputError
from superres.progress import ProgressCallback

if TYPE_CHECKING:
    from superres.config import UpscaleConfig


@app.command(
    epilog=examples(
        "superres info stack.tif",
        "superres info stack.tif --axes ZYX --picture stack.png",
        "superres info folder 'other/scan_*.tif'",
        "superres info model.safetensors --json",
        "superres info em-x4",
        "superres info sharp.ome.zarr --verify",
    )
)
def info(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Images, one of several (file.lif::NAME), patterns, folders; a model or a run.",
            show_default=False,
        ),
    ],
    axes: Annotated[str | None, typer.Option(help="Axes where the file does not tell, such as ZYX.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Write a picture of every channel to this PNG.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Prove that every block of a store is there.")] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Tell what images, a folder or a model are: axes, sizes, voxel size, intensities; factor, training, figures."""
    code = 0
    with job(STARTS_ANEW) as progress:
        if verify:
            code = _verify([Path(path) for path in paths], progress, as_json=as_json)
        elif len(paths) == 1 and (model := _model_of(paths[0])) is not None:
            from superres.modelfile import load_model_file

            output.show_model(load_model_file(model), as_json=as_json)
        else:
            from superres.config import UpscaleConfig, load_config

            # The settings of `upscale` that say how a file is to be read.
            config = load_config(UpscaleConfig, None, overrides or (), model=Path(paths[0]), axes=axes)
            code = _images(paths, config, picture, progress, as_json=as_json)
    if code:
        raise typer.Exit(code)


def _model_of(text: str) -> Path | None:
    """Return the model that is meant; an image or folder wins over the name of a model in the package."""
    if _is_model(text) or Path(text).exists():
        return Path(text) if _is_model(text) else None
    from superres.sharing import bundled_models

    return bundled_models().get(text)


def _is_model(path: str) -> bool:
    return path.endswith(".safetensors") or (Path(path) / "model.safetensors").is_file()


def _images(
    paths: Sequence[str], config: UpscaleConfig, picture: Path | None, progress: ProgressCallback, *, as_json: bool
) -> int:
    """Show one image in full, or a table of several; return 1 if some cannot be read."""
    from superres.volumes.collection import find_acquisitions, holds_several
    from superres.volumes.opening import is_pattern

    only = paths[0] if len(paths) == 1 else None
    # Given axes say what the numbers of a pattern's files count: one series.
    if only and ((config.axes is not None and is_pattern(only)) or not holds_several(only)):
        _image(only, config, picture, as_json=as_json)
        return 0
    for path in filter(_is_model, paths):
        raise InputError(f"{path}: a model among several paths; give models one at a time: superres info {path}")
    found = find_acquisitions(paths, axes=config.axes, voxel_size=config.voxel_size, apart=True, progress=progress)
    if len(found) == 1 and found[0].error is None and not as_json:
        _image(found[0].path, config, picture, as_json=as_json)
        return 0
    if picture is not None:
        raise InputError(f"{picture}: a picture shows one image, {len(found)} were found; give one of them")
    images.show_collection(only or f"{len(paths)} paths", found, as_json=as_json)
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


def _verify(stores: Sequence[Path], progress: ProgressCallback, *, as_json: bool) -> int:
    """Check stores; return 2 if one is damaged."""
    from superres.volumes.verification import verify_store

    problems = {store: verify_store(store, progress=progress) for store in stores}
    images.show_verification(problems, as_json=as_json)
    return 2 if any(problems.values()) else 0
