"""What the benchmarks share: the table of all figures, which is printed last, and the models.

With ``SUPERRES_BENCH_OUT=FILE`` the table goes into a file, too. ``SUPERRES_BENCH_QUICK=1`` takes small images, to see
that everything works; its figures say nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

# The benchmarks are no package, so that what they share is found beside them.
sys.path.insert(0, str(Path(__file__).parent))

QUICK = bool(os.environ.get("SUPERRES_BENCH_QUICK"))
_FIGURES: pytest.StashKey[Any] = pytest.StashKey()


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Any:
    """Return the table that every benchmark adds its figures to."""
    from figures import Figures, circumstances

    head = circumstances() + ("\n- QUICK: these figures say nothing" if QUICK else "")
    return pytestconfig.stash.setdefault(_FIGURES, Figures(head))


@pytest.fixture(scope="session")
def quick() -> bool:
    """Return whether small images are to do."""
    return QUICK


@pytest.fixture(scope="session")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what gives the model file of a preset, or of the net ``"narrow"``, which costs next to nothing."""
    from material import train_model, write_narrow_model

    folder = tmp_path_factory.mktemp("models")

    @cache
    def model(preset: str) -> Path:
        if preset == "narrow":
            return write_narrow_model(folder / "narrow.safetensors", model("XS"))
        return train_model(folder / preset, preset)

    return model


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(_FIGURES, None)
    if found is None or not found.rows:
        return
    terminalreporter.section("figures")
    terminalreporter.write_line(found.text())
    if out := os.environ.get("SUPERRES_BENCH_OUT"):
        Path(out).write_text(found.text(), encoding="utf-8")
