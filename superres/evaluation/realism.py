"""A page that shows how real simulated recordings look: spectra, noise, quantiles, correlation, crops side by side."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from superres.degrade.block import degrade_block, meanings
from superres.degrade.fitting import Outcome, Simulation
from superres.degrade.statistics import SHARES
from superres.evaluation.figures import Line, line_chart, png_uri
from superres.evaluation.page import number, page

_REAL, _FITTED, _DEFAULT, _SHARP = "#1c2024", "#d1480f", "#5b8fd9", "#7a8794"
_CROP = 128  # low voxels
_CONTRAST = (0.5, 99.8)


def realism_page(outcome: Outcome) -> str:
    """Return a self-contained HTML document about a fit."""
    factor = " x ".join(map(str, outcome.recordings.fields.factor))
    parts = [
        "<h1>Fitted degradation</h1>",
        f'<p class="subtitle">factor {factor}; {len(outcome.recordings.sharp)} sharp and '
        f"{len(outcome.recordings.recorded)} recorded images</p>",
        _warnings(outcome.warnings),
        "<h2>How far simulated recordings are from the real ones</h2>",
        _table(outcome),
        _each(outcome),
        f'<div class="charts">{"".join(_charts(outcome))}</div>',
        "<h2>Side by side</h2>",
        _crops(outcome),
        "<h2>Degradation</h2>",
        f"<pre>{escape(degrade_block(outcome))}</pre>",
    ]
    return page("Fitted degradation", "\n".join(parts))


def _warnings(warnings: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in warnings)
    return f'<div class="warnings">Please note<ul>{items}</ul></div>' if warnings else ""


def _table(outcome: Outcome) -> str:
    rows = []
    for name, meaning in meanings().items():
        before, after = (float(getattr(one.gaps, name)) for one in (outcome.default, outcome.fitted))
        rows.append(
            f"<tr><th>{escape(meaning)}</th><td>{number(before, 3)}</td><td>{number(after, 3)}</td>"
            f"<td>{number(before / max(after, 1e-12), 1)}</td></tr>"
        )
    head = "<tr><th>0 is alike</th><th>default</th><th>fitted</th><th>times better</th></tr>"
    return f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"


def _each(outcome: Outcome) -> str:
    """List recordings that were also fitted one by one."""
    rows = []
    for one in outcome.alone:
        numbers = (one.microscope.blur, one.microscope.photons, one.default.spectrum, one.fitted.spectrum)
        cells = "".join(
            f"<td>{number(value, digits)}</td>" for value, digits in zip(numbers, (2, 0, 3, 3), strict=True)
        )
        rows.append(f"<tr><th>{escape(Path(one.recorded).name)}</th>{cells}</tr>")
    head = "<tr><th>by itself</th><th>blur</th><th>photons</th><th>spectrum, default</th><th>fitted</th></tr>"
    return f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>" if rows else ""


def _charts(outcome: Outcome) -> list[str]:
    return [
        _figure("Radial spectrum", _spectrum(outcome)),
        _figure("Noise variance against grey level", _noise(outcome)),
        _figure("Quantiles", _quantiles(outcome)),
        _figure("Correlation of noise, beyond that of white noise", _correlation(outcome)),
    ]


def _figure(title: str, chart: str) -> str:
    return f"<figure><figcaption>{escape(title)}</figcaption>{chart}</figure>"


def _simulations(outcome: Outcome) -> list[tuple[Simulation, str]]:
    return [(outcome.default, _DEFAULT), (outcome.fitted, _FITTED)]


def _spectrum(outcome: Outcome) -> str:
    real = outcome.fit.recorded
    lines = [Line("recorded", real.frequency, np.log10(real.radial), _REAL, 2.5)]
    for one, colour in _simulations(outcome):
        lines.append(Line(one.name, one.statistics.frequency, np.log10(one.statistics.radial), colour))
    return line_chart(lines, title="Spectrum", x_label="cycles per low voxel", y_label="log10 of power")


def _noise(outcome: Outcome) -> str:
    real = outcome.fit.recorded.noise
    lines = [Line("recorded", real.level, _log(real.variance), _REAL, 2.5)]
    for one, colour in _simulations(outcome):
        noise = one.statistics.noise
        shown = (noise.level >= real.level.min()) & (noise.level <= real.level.max())
        lines.append(Line(one.name, noise.level[shown], _log(noise.variance[shown]), colour))
    return line_chart(lines, title="Noise", x_label="grey level, share of the sharp range", y_label="log10 of variance")


def _log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log10(np.maximum(values, 1e-12))


def _quantiles(outcome: Outcome) -> str:
    shares = np.asarray(SHARES)
    lines = [Line("recorded", shares, outcome.fit.recorded.quantiles, _REAL, 2.5)]
    lines += [Line(one.name, shares, one.statistics.quantiles, colour) for one, colour in _simulations(outcome)]
    return line_chart(lines, title="Quantiles", x_label="share of the voxels below", y_label="grey level, share")


def _correlation(outcome: Outcome) -> str:
    lags = np.arange(1.0, outcome.autocorrelation.shape[1] + 1)
    lines = [Line("recorded", lags, outcome.autocorrelation.mean(axis=0), _REAL, 2.5)]
    lines += [Line(one.name, lags, one.autocorrelation.mean(axis=0), colour) for one, colour in _simulations(outcome)]
    return line_chart(lines, title="Correlation", x_label="voxels along Y or X", y_label="correlation")


def _crops(outcome: Outcome) -> str:
    """Show the middle of the first window; where there are no pairs, the fields differ."""
    fields = outcome.recordings.fields
    fy, fx = fields.factor[1:]
    middle = [(max(0, (n - _CROP) // 2), min(n, _CROP)) for n in outcome.shares.shape[1:]]
    (y, height), (x, width) = middle
    low = (slice(y, y + height), slice(x, x + width))
    sharp = fields.sharp[0, y * fy : (y + height) * fy, x * fx : (x + width) * fx]
    views = {
        "sharp": sharp,
        "simulated, default": outcome.default.images[0][low],
        "simulated, fitted": outcome.fitted.images[0][low],
        "recorded" if fields.paired else "recorded, another field": outcome.shares[0][low],
    }
    figures = []
    for name, view in views.items():
        black, white = (float(level) for level in np.percentile(view, _CONTRAST))
        uri = png_uri(view, (black, max(white, black + 1e-6)))
        figures.append(
            f'<figure><div class="view"><img src="{uri}" alt="{escape(name)}"></div>'
            f"<figcaption>{escape(name)}</figcaption></figure>"
        )
    return (
        f'<p class="hint">The middle of the first window, each view from its own {_CONTRAST[0]} to {_CONTRAST[1]} % '
        f'quantile.</p><div class="crops" style="--n: {len(figures)}">{"".join(figures)}</div>'
    )
