"""Upscale one volume in a process of its own, and print what it took as JSON: ``one_upscale.py SOURCE OUT MODEL``."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from superres.config import UpscaleConfig
from superres.inference import upscale


def main(source: Path, out: Path, model: Path) -> None:
    started = time.perf_counter()
    done = upscale(source, out, UpscaleConfig(model=model, device="cpu"))
    seconds = time.perf_counter() - started
    # Not what getrusage tells: that begins with the memory of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9
    print(json.dumps({"seconds": seconds, "peak": peak, "units": done.units, "before": done.units_done_before}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
