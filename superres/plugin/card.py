"""What a person should know of a model before using it, in a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from superres.modelfile import ModelHeader

VoxelSize = Sequence[float | None]

# As the engine warns: a net trained at one sampling invents at another.
_LEAST, _MOST = 2 / 3, 3 / 2


def card(header: ModelHeader) -> str:
    """Return the lines of a model's card as HTML."""
    lines = [f"<b>{escape(header.name)}</b> {_factor_text(header)}", _trained_text(header)]
    size = _size_text(header.voxel_size)
    lines.append(f"For images with voxels of {size}" if size else "It does not say for which voxel size it is")
    lines.append("Licence of its images: " + escape(", ".join(header.licences)))
    if header.context:
        lines.append(_context_text(header))
    if header.display:
        lines.append("<b>For pictures, not for measurement:</b> it invents fine detail that looks right")
    return "<br>".join(lines)


def mismatch(header: ModelHeader, voxel_size: VoxelSize | None) -> str:
    """Say with figures where a layer's voxel size is not what the model was trained for; empty where it is."""
    if voxel_size is None:
        return ""
    pairs = list(zip(header.voxel_size, voxel_size, strict=True))
    wrong = [bool(trained and here and not _LEAST < here / trained < _MOST) for trained, here in pairs]
    if not any(wrong):
        return ""
    here, trained = (
        _size_text([size if is_wrong else None for size, is_wrong in zip(sizes, wrong, strict=True)])
        for sizes in (voxel_size, header.voxel_size)
    )
    return (
        f"The voxels of this image measure {here}, the model was trained for {trained}. It may invent or miss "
        "structures: choose a model for this magnification, or compare with what you know."
    )


def _factor_text(header: ModelHeader) -> str:
    factor = header.factor
    if max(factor) == 1:
        return "restores images without making them finer"
    if factor[0] == 1 and factor[1] == factor[2]:
        return f"makes images {factor[1]} times finer along Y and X"
    parts = [f"{times} times along {axis}" for axis, times in zip("ZYX", factor, strict=True) if times > 1]
    return "makes images finer: " + ", ".join(parts)


def _trained_text(header: ModelHeader) -> str:
    entries = [entry for training in header.trainings for entry in training.get("acquisitions", ())]
    manifests = [one for training in header.trainings for one in training.get("manifests", ())]
    names = list(dict.fromkeys(str(manifest["name"]) for manifest in manifests))
    if not entries:
        return "It does not say on which images it was trained"
    of = f" of {escape(', '.join(names[:3]))}" if names else ""
    return f"Trained on {len(entries)} acquisition{'s' if len(entries) > 1 else ''}{of}"


def _context_text(header: ModelHeader) -> str:
    axis, frames = header.context.get("axis"), header.context.get("frames")
    return {
        "z": f"Looks at {frames} neighbouring planes at once",
        "t": f"Looks at {frames} neighbouring time points at once",
        "c": f"Looks at {frames} channels at once and predicts one of them",
    }.get(str(axis), "")


def _size_text(voxel_size: VoxelSize) -> str:
    """Write known sizes, equal ones together: ``0.05 µm along Y and X``."""
    axes: dict[str, list[str]] = {}
    for axis, size in zip("ZYX", voxel_size, strict=True):
        if size:
            axes.setdefault(f"{size:.4g}", []).append(axis)
    return ", ".join(f"{size} µm along {' and '.join(names)}" for size, names in axes.items())
