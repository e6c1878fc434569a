"""The frame of the HTML report: style sheet, and how numbers and settings are written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = """
:root { --ink: #1c2024; --soft: #5b646e; --rule: #d9dee3; --panel: #f6f7f8; --accent: #d1480f; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1360px; padding: 32px 40px 64px; color: var(--ink); background: #fff;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; font-weight: 650; }
h2 { font-size: 20px; margin: 40px 0 8px; padding-bottom: 6px; border-bottom: 1px solid var(--rule); }
h3 { font-size: 17px; margin: 28px 0 2px; }
small { color: var(--soft); font-weight: 400; }
.subtitle { margin: 0; color: var(--soft); }
.hint { margin: 2px 0 12px; color: var(--soft); font-size: 13px; overflow-wrap: anywhere; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin: 24px 0 0; }
.card { flex: 1 1 180px; background: var(--panel); border: 1px solid var(--rule); border-radius: 6px;
  padding: 12px 16px; }
.card span, .card em { display: block; font-size: 13px; font-style: normal; color: var(--soft); }
.card strong { display: block; font-size: 24px; font-weight: 650; line-height: 1.4; }
.first { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 0 40px; align-items: start; }
.first .compare { margin: 20px 0 0; max-width: 440px; }
.words { margin: 20px 0 0; padding: 0 0 0 20px; max-width: 980px; font-size: 16px; }
.words li { margin: 6px 0; }
.warnings { margin: 20px 0 0; padding: 10px 16px; border: 1px solid #e5c56b; border-left-width: 4px;
  border-radius: 4px; background: #fdf8e8; font-size: 14px; overflow-wrap: anywhere; }
.warnings ul { margin: 4px 0 0; padding-left: 20px; }
.scroll { overflow-x: auto; }
.tables { display: grid; grid-template-columns: repeat(auto-fit, minmax(560px, 1fr)); gap: 20px 40px;
  align-items: start; }
.tables.wide { grid-template-columns: minmax(0, 1fr); }
table { border-collapse: collapse; width: 100%; margin: 4px 0 12px; font-size: 14px;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 4px 0; }
th, td { padding: 5px 10px; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 4px; }
thead th { font-weight: 500; color: var(--soft); border-bottom: 1px solid #9aa3ad; }
tbody th { font-weight: 400; max-width: 260px; overflow: hidden; text-overflow: ellipsis; }
td.best { font-weight: 650; background: #fdeee6; }
tr.mean th, tr.mean td { border-top: 1px solid #9aa3ad; border-bottom: 0; }
tr.mean th { font-weight: 600; }
figure { margin: 0; }
.crops { display: grid; grid-template-columns: repeat(var(--n), minmax(0, 1fr)); gap: 8px; }
.crops figcaption { font-size: 13px; padding: 3px 0 0; text-align: center; }
.view { position: relative; }
.view img { display: block; width: 100%; image-rendering: pixelated; background: #000;
  outline: 1px solid var(--rule); outline-offset: -1px; }
.view i::before, .view i::after { content: ""; position: absolute; width: 8px; height: 2px; margin-top: -1px;
  background: var(--accent); }
.view i { position: absolute; left: 0; right: 0; }
.view i::before { left: 0; }
.view i::after { right: 0; }
.crops span { display: block; }
.compare { max-width: 760px; margin: 8px 0 16px; }
.compare .view { overflow: hidden; cursor: col-resize; touch-action: none; user-select: none; }
.compare img { position: absolute; inset: 0; height: 100%; }
.compare img.right { clip-path: inset(0 0 0 var(--x)); }
.compare b { position: absolute; top: 0; bottom: 0; left: var(--x); width: 2px; margin-left: -1px;
  background: var(--accent); }
.tools { display: flex; gap: 12px; align-items: center; padding: 6px 0; }
.tools input { flex: 1; accent-color: var(--accent); }
.tools select { font: inherit; font-size: 13px; padding: 2px 4px; }
.rank { font-size: 13px; padding: 1px 8px; border-radius: 9px; background: var(--panel); color: var(--soft); }
summary { cursor: pointer; margin: 16px 0 0; font-weight: 600; }
pre { background: var(--panel); border: 1px solid var(--rule); border-radius: 4px; padding: 10px 14px;
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(480px, 1fr)); gap: 16px 32px;
  margin: 16px 0; }
.charts figcaption { font-weight: 600; font-size: 14px; }
.chart { display: block; width: 100%; height: auto; }
.chart text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; fill: #3d454d; }
.chart .note { fill: var(--soft); }
.chart .axis { stroke: #6b747d; fill: none; }
.chart .grid { stroke: #e6e9ec; fill: none; }
.chart .mark { stroke: #9aa3ad; stroke-dasharray: 3 3; fill: none; }
figure, .cards, tr { break-inside: avoid; }
h2, h3 { break-after: avoid; }
dl { display: grid; grid-template-columns: 180px minmax(0, 1fr); gap: 6px 20px; font-size: 14px; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 760px) { body { padding: 20px 16px; }
  .first, .tables, .charts { grid-template-columns: minmax(0, 1fr); } }
@media print { body { max-width: none; padding: 0; font-size: 11px; } .compare, .tools { display: none; }
  .tables:not(.wide), .charts { grid-template-columns: repeat(2, minmax(0, 1fr)); } .scroll { overflow: visible; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
"""

# The pictures under a slider are those of the page; without scripts the page loses the sliders only.
_SCRIPT = """
for (const box of document.querySelectorAll('.compare')) {
  const find = (what) => box.querySelector(what), view = find('.view'), range = find('input');
  const show = () => { for (const side of ['left', 'right'])
    find('img.' + side).src = document.getElementById(box.dataset.key + '-' + find('select.' + side).value).src; };
  const move = (share) => { range.value = share; box.style.setProperty('--x', share + '%'); };
  for (const select of box.querySelectorAll('select')) select.onchange = show;
  range.oninput = () => move(range.value);
  view.onpointermove = view.onpointerdown = (event) => { if (event.buttons) {
    const frame = view.getBoundingClientRect(); event.preventDefault();
    move(Math.min(100, Math.max(0, 100 * (event.clientX - frame.left) / frame.width))); } };
  show();
}
addEventListener('beforeprint', () => { for (const one of document.querySelectorAll('details')) one.open = true; });
"""

_MINUS = "\N{MINUS SIGN}"


def page(title: str, body: str) -> str:
    """Return a whole HTML document that refers to nothing outside itself."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n<script>{_SCRIPT}</script></body></html>\n"
    )


def number(value: float, digits: int) -> str:
    """Write a figure; infinity as a sign, NaN in words."""
    if math.isnan(value):
        return "no value"
    if math.isinf(value):
        return "∞" if value > 0 else f"{_MINUS}∞"
    return f"{value:.{digits}f}".replace("-", _MINUS)


def signed(value: float, digits: int) -> str:
    """Write a difference with its sign."""
    return f"+{number(value, digits)}" if value >= 0 else number(value, digits)


def count(n: int, noun: str) -> str:
    """Write a number of things."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def setting(value: Any) -> str:
    """Write a JSON-able setting as HTML, groups as ``name: value`` pairs."""
    if isinstance(value, Mapping):
        pairs = [f"{escape(str(key))}: {setting(item)}" for key, item in value.items()]
        long = any(isinstance(item, Mapping) or len(str(item)) > 40 for item in value.values())
        return ("<br>" if long else "; ").join(pairs) or "none"
    if isinstance(value, list | tuple):
        lines = [setting(item) for item in value]
        nested = any(isinstance(item, Mapping) for item in value)
        return ("<br>" if nested else ", ").join(lines) or "none"
    if isinstance(value, float):
        return escape(f"{value:.6g}")
    return "none" if value is None else escape(str(value))
