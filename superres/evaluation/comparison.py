"""Pictures of one acquisition in the HTML report: crops with their errors, and two of them under a slider."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from numpy.typing import NDArray

from superres.evaluation.exhibits import Exhibit
from superres.evaluation.figures import difference_uri, png_uri
from superres.evaluation.results import MODEL, Agreement
from superres.inference.consistency import SUSPICIOUS


def crops(exhibit: Exhibit, key: str, agreement: Mapping[str, Agreement]) -> str:
    """Return the same window of every plane, below it what is wrong with it; `key` is unlike that of other exhibits.

    `agreement` of whole planes with their recording is told below the maps of it.
    """
    names = [name for name in exhibit.crops if name != "input"]
    height, width = exhibit.crops["truth"].shape
    line = 100 * (exhibit.row + 0.5) / height
    rows = [
        "".join(
            _picture(
                png_uri(exhibit.crops[name], exhibit.levels),
                _caption(name, exhibit),
                f'style="aspect-ratio:{width}/{height}" id="{key}-{escape(name)}" data-name="{escape(name)}"',
                f'<i style="top:{line:.2f}%"></i>',
            )
            for name in names
        )
    ]
    # Truth, the last, has no errors: below it, beside those of the model, is what the guard did to this.
    rows.append(_maps(names[:-1], _errors(exhibit), exhibit.error_limit, "error") + _guard(exhibit))
    notes = [
        _place(exhibit),
        f"errors: prediction minus truth, red above, blue below, full at ±{exhibit.error_limit:.4g}",
    ]
    if exhibit.deviations:
        words = {name: f"recording: χ² {one.chi2:.2f}, |z| to {one.largest:.1f}" for name, one in agreement.items()}
        rows.append(_maps(names, exhibit.deviations, SUSPICIOUS, "recording", words))
        notes.append(
            "recording: the plane degraded again minus the recording, in standard deviations of its noise, full at "
            f"±{SUSPICIOUS:g}; structure there was added or erased, none proves nothing (χ², |z|: of the whole plane; "
            "truth has χ² 1, what follows the noise less, what contradicts the recording more)"
        )
    elif exhibit.not_compared:
        notes.append(f"no map of the agreement with the recording: {exhibit.not_compared}")
    if exhibit.weight is not None:
        notes.append(
            "guard: share of the net's difference from interpolation that was taken back as not to be believed, white "
            "none, full red all of it"
        )
    return (
        f'<div class="crops" style="--n:{len(names)}">{"".join(rows)}</div>'
        f'<p class="hint">{escape("; ".join(notes))}</p>'
    )


def slider(exhibit: Exhibit, key: str) -> str:
    """Return two crops on one another with a slider between them; the pictures are those of `crops`."""
    names = [name for name in exhibit.crops if name != "input"]
    height, width = exhibit.crops["truth"].shape
    plain = next(name for name in ("bicubic", "low") if name in names)
    right = MODEL if MODEL in names else "truth"
    return (
        f'<div class="compare" data-key="{key}" style="--x:50%">'
        f'<div class="view" style="aspect-ratio:{width}/{height}"><img class="left" alt=""><img class="right" alt="">'
        "<b></b></div>"
        f'<div class="tools">{_choice(names, plain, "left")}'
        '<input type="range" min="0" max="100" value="50" aria-label="where the two pictures meet">'
        f"{_choice(names, right, 'right')}</div></div>"
    )


def _choice(names: list[str], chosen: str, side: str) -> str:
    options = "".join(f"<option{' selected' if name == chosen else ''}>{escape(name)}</option>" for name in names)
    return f'<select class="{side}" aria-label="{side} picture">{options}</select>'


def _errors(exhibit: Exhibit) -> Mapping[str, NDArray[Any]]:
    truth = exhibit.crops["truth"]
    return {name: crop - truth for name, crop in exhibit.crops.items() if crop.shape == truth.shape and name != "truth"}


def _guard(exhibit: Exhibit) -> str:
    if exhibit.weight is None:
        return "<span></span>"
    height, width = exhibit.weight.shape
    map_ = difference_uri(1 - exhibit.weight, 1.0)
    return _picture(map_, f"guard of {MODEL}", f'style="aspect-ratio:{width}/{height}"', "", alt=f"{MODEL}: guard")


def _maps(
    names: list[str],
    maps: Mapping[str, NDArray[Any]],
    limit: float,
    kind: str,
    captions: Mapping[str, str] | None = None,
) -> str:
    cells = []
    for name in names:
        if name in maps:
            height, width = maps[name].shape
            size = f'style="aspect-ratio:{width}/{height}"'
            caption = (captions or {}).get(name, kind)
            cells.append(_picture(difference_uri(maps[name], limit), caption, size, "", alt=f"{name}: {kind}"))
        else:
            cells.append("<span></span>")
    return "".join(cells)


def _picture(uri: str, caption: str, attributes: str, mark: str, *, alt: str = "") -> str:
    return (
        f'<figure><div class="view"><img alt="{escape(alt or caption)}" src="{uri}" {attributes}>{mark}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _place(exhibit: Exhibit) -> str:
    (y, x), (height, width) = exhibit.corner, exhibit.crops["truth"].shape
    return (
        f"{exhibit.label}; {height} x {width} high voxels from (y, x) = ({y}, {x}); grey levels "
        f"{exhibit.levels[0]:.5g} to {exhibit.levels[1]:.5g}; the ticks mark the line of the profile"
    )


def _caption(name: str, exhibit: Exhibit) -> str:
    low = " x ".join(str(n) for n in exhibit.crops["low"].shape)
    return f"low ({low})" if name == "low" else name
