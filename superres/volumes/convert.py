"""Write any volume that opens as OME-Zarr, OME-TIFF or ImageJ hyperstack: streamed, its metadata kept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from superres.config import Settings
from superres.errors import InputError
from superres.progress import ProgressCallback, silent
from superres.volumes.conversion import Format, Job
from superres.volumes.convert_tiff import convert_to_hyperstack, convert_to_ometiff
from superres.volumes.convert_zarr import convert_to_omezarr
from superres.volumes.dtypes import DtypePolicy, target_dtype
from superres.volumes.ometiff import Compression
from superres.volumes.volume import Volume, VoxelSize


class ConvertConfig(Settings):
    """How files are converted; the same for CLI, plugin and batch."""

    axes: str | None = None
    voxel_size: tuple[float, float, float] | None = None
    format: Format | None = None
    dtype: DtypePolicy = "keep"
    nan: float | None = None
    compression: Compression = "deflate"
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class ConvertSummary:
    """What a conversion did.

    Parameters
    ----------
    path : Path
        The file or store.
    format : str
        What it is, as in `convert`.
    shape : tuple of int
        TCZYX voxels.
    dtype : str
        Type of the voxels written.
    voxel_size : tuple of float or None
        ZYX micrometre; None where the source does not say.
    units, units_done_before : int
        Blocks in all, and those that an earlier run had finished.
    seconds : float
        Time spent by this run.
    clipped, rounded, not_a_number : int
        Voxels of this run that were changed by the type, see `CastTally`.
    warnings : tuple of str
        What a person should know.
    """

    path: Path
    format: Format
    shape: tuple[int, int, int, int, int]
    dtype: str
    voxel_size: VoxelSize
    units: int
    units_done_before: int
    seconds: float
    clipped: int
    rounded: int
    not_a_number: int
    warnings: tuple[str, ...]


def format_of(out: Path) -> Format:
    """Tell by its name what an output is to be.

    Raises
    ------
    InputError
        When the name has none of the known endings.
    """
    name = out.name.lower()
    if name.endswith((".ome.tif", ".ome.tiff", ".ome.btf")):
        return "ome-tiff"
    if name.endswith((".tif", ".tiff")):
        return "imagej"
    if name.endswith(".zarr"):
        return "ome-zarr-0.5"
    raise InputError(
        f"{out}: cannot tell the format from this name; end it with .ome.zarr (OME-Zarr), .ome.tif (OME-TIFF) or .tif "
        "(ImageJ hyperstack)"
    )


def suffix_of(format: Format) -> str:
    """Return the ending of names of a format."""
    return {"ome-tiff": ".ome.tif", "imagej": ".tif"}.get(format, ".ome.zarr")


def convert(
    volume: Volume,
    out: Path,
    *,
    format: Format | None = None,
    dtype: DtypePolicy = "keep",
    nan: float | None = None,
    compression: Compression = "deflate",
    overwrite: bool = False,
    progress: ProgressCallback = silent,
) -> ConvertSummary:
    """Write a volume in another format, block by block, with a pyramid made anew.

    A Zarr store that was begun from the same source with the same settings is gone on with; a TIFF is begun anew and
    gets its name when it is complete.

    Parameters
    ----------
    volume : Volume
        Opened by `superres.open_volume`; its finest level is what is converted.
    out : Path
        File or folder to write.
    format : str, optional
        ``"ome-zarr-0.5"``, ``"ome-zarr-0.4"``, ``"ome-tiff"`` or ``"imagej"``; told by the name of `out` if not given.
    dtype : str
        ``"keep"``, ``"uint16"``, ``"float32"`` or ``"uint8"``: grey levels keep their scale, are rounded half to even
        and clipped, and both is counted.
    nan : float, optional
        What NaN becomes in an integer type; without it NaN is an error there.
    compression : str
        Of an OME-TIFF. Zarr stores are always compressed (blosc, zstd), ImageJ hyperstacks never.
    overwrite : bool
        Replace an image at `out`. Anything else is never replaced.
    progress : callable
        Receives an event per block.

    Raises
    ------
    InputError
        When the source is damaged, or does not fit the format or dtype.
    OutputExistsError
        When `out` holds something else.
    OutputWriteError
        When writing fails; a store can be resumed.
    """
    started = time.monotonic()
    out = Path(out)
    chosen = format or format_of(out)
    _check_name(out, chosen)
    _refuse_source(volume, out)
    kind = target_dtype(dtype, volume.dtype)
    job = Job(volume, out, chosen, kind, nan, compression, overwrite, progress)
    write = {"ome-tiff": convert_to_ometiff, "imagej": convert_to_hyperstack}.get(chosen, convert_to_omezarr)
    tally, units, done_before = write(job)
    return ConvertSummary(
        path=out,
        format=chosen,
        shape=volume.shape,
        dtype=kind.name,
        voxel_size=volume.voxel_size,
        units=units,
        units_done_before=done_before,
        seconds=time.monotonic() - started,
        clipped=tally.clipped,
        rounded=tally.rounded,
        not_a_number=tally.not_a_number,
        warnings=(*tally.sentences(kind.name), *_left_out(volume, chosen)),
    )


def _check_name(out: Path, format: Format) -> None:
    """Refuse names by which other programs would take a file for something else."""
    fitting = {"ome-tiff": (".tif", ".tiff", ".btf"), "imagej": (".tif", ".tiff")}.get(format, (".zarr",))
    name = out.name.lower()
    if not name.endswith(fitting) or (format == "imagej" and ".ome." in name):
        raise InputError(f"{out}: an unusual name for {format}; end it with {suffix_of(format)}")


def _refuse_source(volume: Volume, out: Path) -> None:
    target = out.resolve()
    for path in (volume.source, *volume.files):
        source = path.resolve()
        inside = source.is_dir() and target.is_relative_to(source)
        if source == target or inside or source.is_relative_to(target):
            raise InputError(f"{out}: lies where the input is ({path}), which is never written to; give another output")


def _left_out(volume: Volume, format: Format) -> tuple[str, ...]:
    """Say what a format cannot hold of what the source tells."""
    if format != "imagej":
        return ()
    told = []
    if any(volume.translation):
        z, y, x = volume.translation
        told.append(f"the position ({z:g}, {y:g}, {x:g} um) is left out, ImageJ's format has no place for it")
    sizes = volume.voxel_size
    if None in sizes[1:] and any(size is not None for size in sizes):
        told.append("the voxel size is left out: ImageJ's format holds it for Y and X together or not at all")
    return tuple(told)
