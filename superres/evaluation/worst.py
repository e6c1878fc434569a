"""The picture of where a model did worst: the acquisitions with the smallest gain, beside interpolation and truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from superres.errors import OutputWriteError
from superres.evaluation.exhibits import Exhibit
from superres.evaluation.figures import difference_picture, grey_picture
from superres.evaluation.results import MODEL, Evaluation
from superres.evaluation.summary import ranked

FILE = "worst.png"
"""Its name beside ``report.json``."""
SHOWN = 3
"""Acquisitions at most."""

_SIDE, _GAP, _LINE, _FONT = 192, 6, 18, 12
_PAPER, _INK = 24, (235, 235, 235)


def worst(evaluation: Evaluation) -> tuple[int, ...]:
    """Return the numbers of the acquisitions that are shown, the smallest gain first; none without a model."""
    return tuple(reversed(ranked(evaluation)))[:SHOWN] if MODEL in evaluation.methods else ()


def write_worst(evaluation: Evaluation, exhibits: Sequence[Exhibit]) -> None:
    """Write the picture beside the report; remove that of an earlier one where there is nothing to show.

    Raises
    ------
    OutputWriteError
        When it cannot be written.
    """
    path = evaluation.data.with_name(FILE)
    numbers = worst(evaluation) if exhibits else ()
    try:
        if numbers:
            _write(path, evaluation, [(number, exhibits[number]) for number in numbers])
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputWriteError(f"{path}: cannot be written ({error.strerror or error}); give another --out") from None


def _write(path: Path, evaluation: Evaluation, shown: Sequence[tuple[int, Exhibit]]) -> None:
    columns = ("low", evaluation.reference, MODEL, "truth", "error")
    height = _SIDE + _LINE + _GAP
    sheet = Image.new("RGB", (_GAP + (_SIDE + _GAP) * len(columns), _LINE + height * len(shown)), (_PAPER,) * 3)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT)
    for column, name in enumerate(columns):
        draw.text((_GAP + column * (_SIDE + _GAP), 2), name, font=font, fill=_INK)
    for row, (number, exhibit) in enumerate(shown):
        top = _LINE + row * height
        result = evaluation.acquisitions[number]
        psnr = ", ".join(f"{name} {result.scores[name].psnr:.2f} dB" for name in columns[1:3])
        draw.text((_GAP, top), f"{result.id}: {psnr}", font=font, fill=_INK)
        for column, picture in enumerate(_pictures(exhibit, columns)):
            sheet.paste(Image.fromarray(picture), (_GAP + column * (_SIDE + _GAP), top + _LINE))
    partial = path.with_name(path.name + ".partial")
    iio.imwrite(partial, np.asarray(sheet), extension=".png")
    partial.replace(path)


def _pictures(exhibit: Exhibit, columns: Sequence[str]) -> list[NDArray[np.uint8]]:
    found: list[NDArray[np.uint8]] = []
    for name in columns:
        if name == "error":
            error = exhibit.crops[MODEL] - exhibit.crops["truth"]
            found.append(difference_picture(error, exhibit.error_limit))
        else:
            coarse: NDArray[Any] = exhibit.crops[name]
            fine = np.kron(coarse, np.ones(exhibit.factor[1:])) if name == "low" else coarse
            found.append(np.repeat(grey_picture(fine, exhibit.levels)[..., None], 3, axis=2))
    return [picture[:_SIDE, :_SIDE] for picture in found]
