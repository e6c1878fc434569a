"""What all tests share: few threads, no time limits that a busy machine would break, reasons for what is skipped."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import hypothesis
import pytest

# Taken out of the environment, so that tests which make their own data do not look for it there.
_DATA_ROOT = os.environ.pop("SUPERRES_DATA", "")

# Before NumPy and torch load: on a shared machine more threads than cores make tests slower, not faster.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, str(min(2, os.cpu_count() or 1)))
# What a viewer keeps of its windows and choices goes nowhere: tests neither read nor change the settings of a person.
os.environ["NAPARI_CONFIG"] = ""
# Threads that wait for work by spinning take the cores away from those that have it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Every run draws other examples, so that few in each are many in a week of runs.
_COMMON = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow], "print_blob": True}
hypothesis.settings.register_profile("short", max_examples=25, **_COMMON)
hypothesis.settings.register_profile("long", max_examples=200, **_COMMON)
hypothesis.settings.load_profile("long" if "--long" in sys.argv else "short")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run what repeats a law more often than a change needs")


def _no_real_data() -> str | None:
    root = _DATA_ROOT
    if not root:
        return "real images: set SUPERRES_DATA to the folder that the manifests refer to"
    return None if Path(root).is_dir() else f"real images: SUPERRES_DATA={root} is not a folder"


def _no_screen() -> str | None:
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return None
    return "napari needs a screen: there is no DISPLAY; install xvfb and run the tests through xvfb-run -a"


def _no_cuda() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "needs a CUDA device"


def _no_slurm() -> str | None:
    return None if shutil.which("sbatch") else "needs SLURM: there is no sbatch"


_NEEDS = {"realdata": _no_real_data, "napari": _no_screen, "gpu": _no_cuda, "slurm": _no_slurm}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        longer = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if item not in longer]
        config.hook.pytest_deselected(items=longer)
    # Files of long tests first: at the end one process would wait for another that has such a file left.
    long = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("slurm")}
    items.sort(key=lambda item: item.path not in long)
    for marker, why_not in _NEEDS.items():
        marked = [item for item in items if item.get_closest_marker(marker) is not None]
        reason = why_not() if marked else None
        for item in marked if reason else ():
            item.add_marker(pytest.mark.skip(reason=str(reason)))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Return the root of the real images; for tests marked realdata."""
    return Path(_DATA_ROOT)


@pytest.fixture(autouse=True)
def _root_of_manifests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the data root back for tests on real images."""
    if request.node.get_closest_marker("realdata") is not None:
        monkeypatch.setenv("SUPERRES_DATA", _DATA_ROOT)
