"""Other tools beside superres: each trained as long on the same images, then given the same recordings.

`make bench-peers`, or with options::

    python tests/benchmarks/compare_peers.py [--seconds 180] [--folder .peers] [--only pssr2,superres_S]

Every tool gets an environment of its own below the folder, installed from the package index; one that cannot be
installed or run is told of in the table. Images are those of ``data_manifests/em.yaml`` where SUPERRES_DATA holds them,
otherwise some that ship with scikit-image; never parts of one image in training and scoring. With
``SUPERRES_BENCH_OUT=FILE`` the table goes into a file, too.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import skimage.data
from figures import circumstances, markdown
from numpy.typing import NDArray
from skimage.color import rgb2gray

from superres.datasets.manifest import load_manifests
from superres.evaluation.metrics import psnr
from superres.evaluation.upsampling import upsample
from superres.volumes import Volume, open_volume

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
sys.path.insert(0, str(HERE / "peers"))
from worker import FACTOR, recorded  # noqa: E402

SIDE = 512  # of sharp images; those recorded for the measurement of speed have this side, too
SAFE = 64  # sides are multiples of it
MOST = {"train": 40, "val": 6}
TIMES = 10  # target: so many times the rate of PSSR2
HEAD = ("method", "parameters", "steps", "PSNR, dB", "output MP/s", "over PSSR2", "peak memory")

Image = NDArray[np.uint8]


class Peer(NamedTuple):
    """A method: its script with what follows it, and what pip installs for it, one call after the other.

    `trained` is the method whose training it uses, where it has none of its own.
    """

    script: Sequence[str]
    installs: Sequence[Sequence[str]] = ()
    trained: str = ""


# torch as everywhere in this project: its CPU build where pip is told of one. torchvision has none that goes with it.
TORCH = f"torch=={importlib.metadata.version('torch').partition('+')[0]}"
PEERS = {
    "pssr2": Peer(("pssr2.py",), ((TORCH, "pssr==2.4.0"),)),
    # It requires a torchvision that excludes this torch: first it goes in by itself, then what else it requires.
    "careamics": Peer(
        ("care.py",), (("--no-deps", "careamics==0.3.5", "torchvision==0.28.0"), (TORCH, "REQUIREMENTS"))
    ),
    "superres_XS": Peer(("ours.py", "XS")),
    "superres_S": Peer(("ours.py", "S")),
    # The other tools examine nothing and write no maps.
    "superres_XS without guard and maps": Peer(("ours.py", "XS", "plain"), trained="superres_XS"),
    "superres_S without guard and maps": Peer(("ours.py", "S", "plain"), trained="superres_S"),
}


class Unusable(Exception):
    """A method cannot be installed or run, and why."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare superres with other tools on the same images.")
    parser.add_argument("--seconds", type=float, default=180, help="of training for each (default 180)")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / ".peers", help="environments and images")
    parser.add_argument("--only", default=",".join(PEERS), help="methods, by commas (default all)")
    options = parser.parse_args()
    head = circumstances()
    work = options.folder.resolve() / "work"
    shutil.rmtree(work, ignore_errors=True)
    source, truths = write_images(work)
    figures = {"bicubic": bicubic(work, truths)}
    for name in options.only.split(","):
        print(f"{name} ...", flush=True)
        try:
            figures[name] = measure(name, PEERS[name], work, options.seconds, truths, figures)
        except Unusable as error:
            figures[name] = {"why": str(error)}
        print(f"  {figures[name]}", flush=True)
    text = f"{head}\n- {source}; {options.seconds:g} s of training each\n\n{table(figures)}\n"
    print(text)
    if out := os.environ.get("SUPERRES_BENCH_OUT"):
        Path(out).write_text(text, encoding="utf-8")


def write_images(work: Path) -> tuple[str, list[Image]]:
    """Write sharp images to train on, and recordings of others; return what they are, and the truth of the latter."""
    source, images = real_images() or shipped_images()
    random = np.random.default_rng(0)
    lows = [recorded(truth, random) for truth in images["val"]]
    larges = [np.tile(low, [-(-SIDE // n) for n in low.shape])[:SIDE, :SIDE] for low in lows[:2]]
    for name, arrays in (("train", images["train"]), ("low", lows), ("large", larges)):
        folder = work / name
        folder.mkdir(parents=True)
        for number, array in enumerate(arrays):
            np.save(folder / f"{number}.npy", array)
    return f"{source}: {len(images['train'])} to train on, {len(lows)} to score", images["val"]


def real_images() -> tuple[str, dict[str, list[Image]]] | None:
    """Return the electron micrographs of the project's manifest, where they are."""
    root = os.environ.get("SUPERRES_DATA", "")
    if not root or not (Path(root) / "em-flyem").is_dir():
        return None
    (manifest,) = load_manifests((REPOSITORY / "data_manifests" / "em.yaml",), Path(root))
    found = {}
    for split, most in MOST.items():
        files = [file for one in manifest.of_split(split) for file in one.high]
        volumes = [open_volume(file) for file in files[:: max(1, len(files) // most)][:most]]
        found[split] = [plane for plane in map(_plane, volumes) if plane.dtype == np.uint8]
    return "electron micrographs of data_manifests/em.yaml", found


def _plane(volume: Volume) -> Image:
    """Read the first plane, cut to `SIDE` and to whole coarse pixels of every net's deepest level."""
    y, x = (slice(0, min(n, SIDE) // SAFE * SAFE) for n in volume.shape[3:])
    return volume.read(t=0, c=0, z=slice(0, 1), y=y, x=x)[0]


def shipped_images() -> tuple[str, dict[str, list[Image]]]:
    """Return images of scikit-image that need no download."""
    train = [skimage.data.retina(), skimage.data.hubble_deep_field(), skimage.data.moon(), skimage.data.brick()]
    val = [skimage.data.cell(), skimage.data.immunohistochemistry(), skimage.data.camera()]
    return "images of scikit-image", {"train": list(_squares(train)), "val": list(_squares(val))}


def _squares(images: Iterable[NDArray[np.uint8]]) -> Iterable[Image]:
    for image in images:
        grey = np.rint(255 * rgb2gray(image)).astype(np.uint8) if image.ndim == 3 else image
        for y in range(0, grey.shape[0] - SIDE + 1, SIDE):
            for x in range(0, grey.shape[1] - SIDE + 1, SIDE):
                yield np.ascontiguousarray(grey[y : y + SIDE, x : x + SIDE])


def bicubic(work: Path, truths: list[Image]) -> dict[str, Any]:
    def restored(low: Image) -> NDArray[Any]:
        return upsample(low[None, None].astype(np.float32), (1, FACTOR, FACTOR), how="bicubic")[0, 0]

    lows = [np.load(work / "low" / f"{number}.npy") for number in range(len(truths))]
    large = np.load(work / "large" / "0.npy")
    started = time.monotonic()
    size = restored(large).size
    rate = size / 1e6 / (time.monotonic() - started)
    return {"psnr": mean_psnr([restored(low) for low in lows], truths), "rate": rate}


def mean_psnr(found: list[NDArray[Any]], truths: list[Image]) -> float:
    scores = [psnr(truth, np.clip(pred, 0, 255), data_range=255) for pred, truth in zip(found, truths, strict=True)]
    return float(np.mean(scores))


def measure(
    name: str, peer: Peer, work: Path, seconds: float, truths: list[Image], before: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    python = environment(name, peer, work.parent)
    script, *rest = peer.script
    start = [python, str(HERE / "peers" / script)]
    if not peer.trained:
        trained = told(run([*start, "train", str(work), str(seconds), *rest]))
    elif "steps" not in before.get(peer.trained, {}):
        raise Unusable(f"{peer.trained} was not trained")
    else:
        trained = before[peer.trained]
    predicted = told(run([*start, "predict", str(work), *rest]))
    found = [np.load(work / (peer.trained or name) / f"{number}.npy") for number in range(len(truths))]
    return trained | predicted | {"psnr": mean_psnr(found, truths)}


def environment(name: str, peer: Peer, folder: Path) -> str:
    """Return the interpreter of a method, installed when there is none yet."""
    if not peer.installs:
        return sys.executable
    place = folder / name
    python, stamp = place / "bin" / "python", place / "installed"
    if stamp.is_file():
        return str(python)
    shutil.rmtree(place, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(place)])
    for packages in peer.installs:
        wanted = [one for one in packages if one != "REQUIREMENTS"]
        if len(wanted) < len(packages):
            wanted += requirements(python, name)
        run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *wanted])
    stamp.touch()
    return str(python)


def requirements(python: Path, package: str) -> list[str]:
    """Return what a package requires, but for torch and torchvision."""
    code = f"import importlib.metadata as m; print(*(m.requires({package!r}) or ()), sep='\\n')"
    lines = run([str(python), "-c", code]).splitlines()
    return [line for line in lines if "extra ==" not in line and not line.startswith("torch")]


def run(command: list[str]) -> str:
    """Run a command; return what it printed.

    Raises
    ------
    Unusable
        With its last words.
    """
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        words = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise Unusable(f"{Path(command[1]).name}: {' '.join(words[-2:])[:300] or done.returncode}")
    return done.stdout


def told(printed: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def table(figures: dict[str, dict[str, Any]]) -> str:
    slow = figures.get("pssr2", {}).get("rate")
    rows = []
    for name, found in figures.items():
        if "why" in found:
            rows.append((name, found["why"], *[""] * (len(HEAD) - 2)))
            continue
        times = f"{found['rate'] / slow:.1f}" if slow else ""
        if times and name.startswith("superres"):
            times += f" (>= {TIMES}: {'yes' if found['rate'] >= TIMES * slow else '**no**'})"
        count = f"{found['parameters'] / 1e6:.2f} M" if "parameters" in found else ""
        peak = f"{found['peak']:.2f} GB" if "peak" in found else ""
        steps = str(found.get("steps", ""))
        rows.append((name, count, steps, f"{found['psnr']:.2f}", f"{found['rate']:.2f}", times, peak))
    return markdown(HEAD, rows)


if __name__ == "__main__":
    main()
