"""Two models on the same images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from superres.cli import app
from superres.errors import ConfigError
from superres.evaluation import MODEL
from superres.sharing.contest import compare_models

PlainNet = Callable[..., Path]


def test_the_second_is_compared_with_the_first(plain_net: PlainNet, manifest: Path, tmp_path: Path) -> None:
    good, bad = plain_net("good.safetensors", name="good"), plain_net("bad.safetensors", std=0.02, name="bad")
    found = compare_models(good, bad, [manifest], out=tmp_path / "out", overrides=["device=cpu"])
    assert (found.first, found.second) == ("good", "bad")
    scores = [(one.scores["first model"].psnr, one.scores[MODEL].psnr) for one in found.evaluation.acquisitions]
    gain = found.evaluation.gains["first model"].psnr.interval
    assert gain.mean == pytest.approx(sum(b - a for a, b in scores) / 2)
    assert gain.low <= gain.mean <= gain.high
    (row, _) = found.acquisitions.rows
    before, after = scores[0]
    assert row[:2] == ("cell_0", f"{before:.2f}, {after:.2f} ({after - before:+.2f})".replace("-", "\N{MINUS SIGN}"))
    assert (tmp_path / "out" / "report.html").is_file()
    assert not any("with different degradations" in note for note in found.notes)


def test_the_command_prints_both(plain_net: PlainNet, manifest: Path) -> None:
    model = str(plain_net("one.safetensors", name="one"))
    result = CliRunner().invoke(app, ["models", "compare", model, model, str(manifest), "--set", "device=cpu"])
    assert result.exit_code == 0
    assert "first: one, second: one" in result.stdout
    assert "+0.00 (+0.00 to +0.00)" in result.stdout
    told = CliRunner().invoke(app, ["models", "compare", model, model, str(manifest), "--json", "--set", "device=cpu"])
    assert json.loads(told.stdout)["gain"]["psnr"]["interval"]["mean"] == 0


def test_other_factors_are_refused(
    plain_net: PlainNet, manifest: Path, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    other = make_model(tmp_path / "other.safetensors", factor=(1, 4, 4))
    with pytest.raises(ConfigError, match="first model upscales by"):
        compare_models(other, plain_net("one.safetensors"), [manifest])
