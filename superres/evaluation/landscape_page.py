"""The loss around a trained net as a page."""

from __future__ import annotations

from html import escape

import numpy as np
from numpy.typing import NDArray

from superres.evaluation.contours import Surface, contour_map
from superres.evaluation.figures import Line, Mark, line_chart
from superres.evaluation.landscape import Axis, Landscape
from superres.evaluation.page import number, page

_FIRST, _SECOND = "#2166ac", "#d1480f"
# Shares of the variance that are listed one by one.
_LISTED = 6


def document(found: Landscape) -> str:
    """Return a self-contained page."""
    body = "\n".join(
        [
            f"<h1>{escape(found.name)}: the loss around the final weights</h1>",
            f'<p class="subtitle">{escape(str(found.run))}</p>',
            _cards(found),
            _notes(found),
            f'<div class="charts">{_map(found)}<div>{_cuts(found)}{_path(found)}</div></div>',
            _table(found),
            _facts(found),
        ]
    )
    return page(f"{found.name}: loss landscape", body)


def in_words(found: Landscape) -> str:
    """Say how much of the path the map shows, direction by direction, and what the others hold."""
    if not found.explained:
        return "no snapshots"
    shares = [f"{share:.1%}" for share in found.explained[:_LISTED]]
    rest = sum(found.explained[_LISTED:])
    others = f", {len(found.explained) - _LISTED} more {rest:.1%}" if len(found.explained) > _LISTED else ""
    return f"{sum(found.explained[:2]):.1%} in the plane of the map ({', '.join(shares)}{others})"


def _cards(found: Landscape) -> str:
    lowest = np.unravel_index(np.nanargmin(found.loss), found.loss.shape)
    x, y = (axis.values[index] for axis, index in zip(found.axes, reversed(lowest), strict=True))
    where = "at the final weights" if x == y == 0 else f"at {_short(x)}, {_short(y)}"
    cards = [
        ("loss of the final weights", f"{found.final.loss:.5g}", f"PSNR {number(found.final.psnr, 2)} dB"),
        ("lowest loss of the map", f"{np.nanmin(found.loss):.5g}", where),
        ("highest loss of the map", f"{np.nanmax(found.loss):.5g}", ""),
    ]
    if found.explained:
        cards.append(("of the path's variance", f"{sum(found.explained[:2]):.1%}", "lies in the plane of the map"))
    return '<div class="cards">' + "".join(_card(*card) for card in cards) + "</div>"


def _card(name: str, value: str, remark: str) -> str:
    return (
        f'<div class="card"><span>{escape(name)}</span><strong>{escape(value)}</strong><em>{escape(remark)}</em></div>'
    )


def _notes(found: Landscape) -> str:
    if not found.notes:
        return ""
    return f'<div class="warnings"><ul>{"".join(f"<li>{escape(note)}</li>" for note in found.notes)}</ul></div>'


def _map(found: Landscape) -> str:
    first, second = found.axes
    path = [*(stop.place for stop in found.path), (0.0, 0.0)] if found.explained else [(0.0, 0.0)]
    drawing = contour_map(
        Surface(first.values, second.values, found.loss),
        path,
        title="loss in a plane through the final weights",
        x_label=_label(first),
        y_label=_label(second),
    )
    over = "; the path of the training, snapshot by snapshot, lies over it" if found.path else ""
    return (
        f"<figure><figcaption>Loss in a plane through the final weights</figcaption>{drawing}"
        f'<p class="hint">Between two lines lie equal parts of the map; colours tell the same{over}.</p></figure>'
    )


def _label(axis: Axis) -> str:
    share = "" if axis.explained is None else f", {axis.explained:.1%} of the variance"
    return f"{axis.name}{share} ({axis.unit})"


def _cuts(found: Landscape) -> str:
    first, second = found.axes
    rows = int(np.argmin(np.abs(second.values))), int(np.argmin(np.abs(first.values)))
    lines = [
        Line(f"along the {first.name}", first.values, found.loss[rows[0]], _FIRST, 2.0),
        Line(f"along the {second.name}", second.values, found.loss[:, rows[1]], _SECOND, 2.0),
    ]
    units = first.unit if first.unit == second.unit else "each in the unit of the map"
    chart = line_chart(
        lines,
        title="loss along both directions",
        x_label=f"from the final weights ({units})",
        y_label="loss",
        marks=[Mark(0.0, "final weights")],
    )
    return f"<figure><figcaption>Cuts through the final weights</figcaption>{chart}</figure>"


def _path(found: Landscape) -> str:
    if not found.path:
        return ""
    steps: NDArray[np.float64] = np.array([stop.step for stop in found.path], dtype=np.float64)
    own, below = (np.array([getattr(stop, name) for stop in found.path]) for name in ("loss", "below"))
    chart = line_chart(
        [Line("of the snapshot", steps, own, _FIRST, 2.0), Line("of the map below it", steps, below, _SECOND, 2.0)],
        title="loss along the path",
        x_label="step of the training",
        y_label="loss",
    )
    return (
        f"<figure><figcaption>Loss along the path</figcaption>{chart}"
        '<p class="hint">Snapshots lie off the plane of the map; where both lines part, the map does not show what the '
        "training met.</p></figure>"
    )


def _table(found: Landscape) -> str:
    if not found.path:
        return ""
    columns = ("step", "first", "second", "in the plane", "loss", "map", "PSNR, dB")
    rows = [
        (
            str(stop.step),
            _short(stop.place[0]),
            _short(stop.place[1]),
            f"{stop.inside:.1%}",
            f"{stop.loss:.5g}",
            f"{stop.below:.5g}",
            number(stop.psnr, 2),
        )
        for stop in found.path
    ]
    head = "".join(f"<th>{name}</th>" for name in columns)
    cells = "".join("<tr>" + "".join(f"<td>{text}</td>" for text in row) + "</tr>" for row in rows)
    return (
        "<h2>The path</h2><p class='hint'>Place on the map; how much of the squared distance to the final weights lies "
        "in its plane; loss of the snapshot, and of the map below it.</p>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table></div>'
    )


def _facts(found: Landscape) -> str:
    facts = {"measured on": found.patches, "loss": "Charbonnier distance to truth, on normalised intensities"}
    if found.explained:
        facts |= {
            "main directions": "principal components of the averaged weights on the path and at its end, of all "
            "parameters and unscaled; through the final weights (Li et al. 2018, section 7)",
            "explained variance": f"{in_words(found)}. Do not read much into it: of a random walk, the first two "
            "directions hold 61 % and 15 % (Antognini & Sohl-Dickstein 2018)",
        }
    if any(axis.explained is None for axis in found.axes):
        facts["random directions"] = (
            f"seed {found.seed}; each filter as long as the net's own (Li et al. 2018, section 4); biases and the "
            "gains of norms stay. A random plane misses the path of a training"
        )
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items())
    return (
        f"<h2>How it was made</h2><dl>{rows}</dl><p class='hint'>A picture of one plane among as many dimensions "
        "as the net has weights: it illustrates, and proves nothing.</p>"
    )


def _short(value: float) -> str:
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")
