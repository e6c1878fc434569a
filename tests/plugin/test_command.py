from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from superres.cli import app, upscale, upscale_batch
from superres.config import CropConfig, UpscaleConfig
from superres.plugin.command import upscale_command

NAMES = st.text("abc äß'\"$;&|* []{}:#-_", min_size=1, max_size=12).filter(lambda name: name.strip() == name)
SETTINGS = st.fixed_dictionaries(
    {"model": st.just("/models/em.safetensors")},
    optional={
        "axes": st.sampled_from(["ZYX", "Y", "YX", "TYX"]),
        "voxel_size": st.tuples(*[st.floats(1e-6, 1e6)] * 3),
        "channels": st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple),
        "dtype": st.sampled_from(["keep", "uint8", "uint16", "float32"]),
        "tile": st.integers(16, 999),
        "shard": st.integers(1, 9),
        "device": st.sampled_from(["auto", "cpu", "cuda", "cuda:1"]),
        "precision": st.sampled_from(["exact", "fast"]),
        "halo": st.sampled_from(["exact", "fast"]),
        "guard": st.booleans(),
        "trust": st.booleans(),
        "overwrite": st.booleans(),
        "check_disk": st.booleans(),
        "crop": st.dictionaries(st.sampled_from("tzyx"), st.tuples(st.integers(0, 5), st.integers(6, 9)), min_size=1),
        "watch": st.fixed_dictionaries({"idle": st.floats(0.1, 1e4)}),
    },
)


def parsed(line: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, UpscaleConfig]:
    """Run a line through the CLI as far as its settings."""
    found: list[Any] = []

    def one(source: Path, store: Path, config: UpscaleConfig, *_: object, **__: object) -> bool:
        found.append((source, store, config))
        return False

    with monkeypatch.context() as patch:
        patch.setattr(upscale_batch, "one", one)
        patch.setattr(upscale, "model_path", lambda text, _: Path(text))  # no model lies there
        words = shlex.split(line)
        assert words[0] == "superres"
        result = CliRunner().invoke(app, words[1:])
    assert result.exit_code == 0, result.output
    (call,) = found
    return call  # type: ignore[no-any-return]


# One way through the command line takes some 20 ms.
@settings(max_examples=25)
@given(options=SETTINGS, name=NAMES)
def test_the_cli_reads_the_same_settings_from_the_line(options: dict[str, Any], name: str) -> None:
    config = UpscaleConfig.model_validate(options)
    source, out = Path(f"/in/{name}.tif"), Path(f"/out/{name}.ome.zarr")
    line = upscale_command(source, out, config)
    assert "\n" not in line
    assert parsed(line, pytest.MonkeyPatch()) == (source, out, config)


def test_what_is_default_is_not_written() -> None:
    config = UpscaleConfig(
        model=Path("/m/em.safetensors"), trust=False, tile=128, crop=CropConfig(t=(3, 4), y=(0, 512))
    )
    assert upscale_command(Path("/d/cell 1.tif"), Path("/d/cell 1.ome.zarr"), config) == (
        "superres upscale '/d/cell 1.tif' --model /m/em.safetensors --out '/d/cell 1.ome.zarr' "
        "--set tile=128 --trust off --crop t=3:4,y=0:512"
    )
