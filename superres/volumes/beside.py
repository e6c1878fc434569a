"""Names of the stores that belong to an output and stand beside it."""

from __future__ import annotations

from pathlib import Path


def beside(out: Path, what: str) -> Path:
    """Return where a store that belongs to an output goes: ``sharp.trust.ome.zarr`` beside ``sharp.ome.zarr``.

    Parameters
    ----------
    out : Path
        The output.
    what : str
        What the store holds, ``"trust"`` or ``"interval"``.
    """
    stem = out.name.removesuffix(".zarr").removesuffix(".ome")
    return out.with_name(f"{stem}.{what}{out.name.removeprefix(stem)}")
