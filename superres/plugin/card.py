"""What a person should know of a model before using it, in a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from superres.sharing.wording import factor_text, range_text

if TYPE_CHECKING:
    from superres.modelfile import ModelHeader

VoxelSize = Sequence[float | None]


def card(header: ModelHeader) -> str:
    """Return the lines of a model's card as HTML."""
    lines = [f"<b>{escape(header.name)}</b> {factor_text(header.factor)}", _trained_text(header)]
    size = range_text(header.voxel_range)
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
    wrong = header.unlike(voxel_size)
    if not any(wrong):
        return ""
    ranges = [(size, size) if size else None for size in voxel_size]
    here, trained = (
        range_text([ends if is_wrong else None for ends, is_wrong in zip(sizes, wrong, strict=True)])
        for sizes in (ranges, header.voxel_range)
    )
    return (
        f"The voxels of this image measure {here}, the model was trained for {trained}. It may invent or miss "
        "structures: choose a model for this magnification, or compare with what you know."
    )


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
