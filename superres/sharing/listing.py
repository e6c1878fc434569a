"""The models in the package, in a line each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from superres.modelfile import load_model_file
from superres.sharing.card import Card
from superres.sharing.names import bundled_models


@dataclass(frozen=True, slots=True)
class Listed:
    """One model in the package.

    Parameters
    ----------
    name : str
        What ``--model`` takes.
    path : Path
        Its file.
    purpose, licence : str
        From its card.
    factor : tuple of int
        ZYX.
    voxel_range : tuple
        Smallest and largest voxel size along Z, Y, X of the recordings that it is for, micrometre; None where unknown.
    display : bool
        Whether it is for pictures and not for measurement.
    size : int
        Bytes.
    """

    name: str
    path: Path
    purpose: str
    licence: str
    factor: tuple[int, int, int]
    voxel_range: tuple[tuple[float, float] | None, ...]
    display: bool
    size: int


def list_bundled() -> tuple[Listed, ...]:
    """Return the models in the package by name; none where there are none.

    Raises
    ------
    ModelFileError
        When one of them is damaged.
    """
    found = []
    for name, path in bundled_models().items():
        file = load_model_file(path)
        card, header = Card.of(file) or Card(file.identity), file.header
        found.append(
            Listed(
                name=name,
                path=path,
                purpose=card.purpose,
                licence=card.licence,
                factor=header.factor,
                voxel_range=header.voxel_range,
                display=header.display,
                size=path.stat().st_size,
            )
        )
    return tuple(found)
