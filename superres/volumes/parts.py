"""Several images in one file: which one is meant by what stands after ``::``, and what to type when none is chosen."""

from __future__ import annotations

from collections.abc import Sequence

from superres.errors import InputError

_SHOWN = 12


def choose_image(names: Sequence[str], part: str | None, path: object, *, sizes: Sequence[str] = ()) -> int:
    """Return the number of the image that is meant: the only one, or the one called `part`, or the `part`-th.

    A name goes before a number, so that images called "2" and "1" are found by their names. `sizes` are told along
    with the names, where they are known.

    Raises
    ------
    InputError
        When none or an unknown one of several is chosen.
    """
    if part is None:
        if len(names) == 1:
            return 0
        raise several_images(names, path, sizes=sizes)
    if part in names:
        return list(names).index(part)
    if part.isdecimal() and int(part) < len(names):
        return int(part)
    raise InputError(f"{path}: it holds no image {part!r}; {_listed(names, sizes)}; give e.g. '{path}::{names[0]}'")


def several_images(names: Sequence[str], path: object, *, sizes: Sequence[str] = ()) -> InputError:
    """Say which images there are, and what to type for one of them."""
    return InputError(f"{path}: {_listed(names, sizes)}; give one of them, e.g. '{path}::{names[0]}'")


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Give each image a name of its own: its number where a name is empty, is given twice, or looks like a number."""
    return tuple(
        name if name and not name.isdecimal() and names.count(name) == 1 else str(number)
        for number, name in enumerate(names)
    )


def _listed(names: Sequence[str], sizes: Sequence[str]) -> str:
    described = [f"{name}: {size}" for name, size in zip(names, sizes, strict=True)] if sizes else names
    shown = ", ".join(described[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"holds {len(names)} image{'' if len(names) == 1 else 's'} ({shown})"
