"""Make stacks of the single planes of two FlyEM volumes, with a manifest, for the ablations of context along Z.

::

    python tests/benchmarks/em_stacks.py FOLDER

``apart.yaml``: every 6th plane of volume C to learn from, every 6th of volume A to score; planes lie about 50 nm
apart, as in serial sections. ``dense.yaml``: 64 consecutive planes of volume A to learn from, 24 others of the same
volume, 8 planes away, to score: one specimen, so that its figures say what neighbours are worth and nothing about other
specimens.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import yaml

from superres.datasets.checksum import file_sha256
from superres.volumes.hyperstack import save_hyperstack

LICENCE = "CC BY 3.0 US"


def main(out: Path, root: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    slices = [imageio.imread(path) for path in sorted((root / "em-flyem/train").glob("*.png"))]
    volume_a = imageio.imread(root / "stack3d/em_flyem_vol-a_z000-095.tif")
    stacks = {
        "apart": {"train": np.stack(slices), "val": volume_a[::6]},
        "dense": {"train": volume_a[:64], "val": volume_a[72:]},
    }
    for name, parts in stacks.items():
        entries = []
        for split, stack in parts.items():
            file = out / f"{name}_{split}.tif"
            save_hyperstack(file, stack[None, None], voxel_size=(None, None, None))
            entries.append(
                {
                    "id": f"flyem_{name}_{split}",
                    "split": split,
                    "grey_range": [0, 255],
                    "high": [{"file": file.name, "sha256": file_sha256(file)}],
                }
            )
        about = {"licence": LICENCE, "credit": "FlyEM, Janelia", "source": "janelia-flyem/neuroproof_examples"}
        manifest = {"name": f"flyem_{name}", "description": "planes of FlyEM volumes, stacked", "root": "."}
        (out / f"{name}.yaml").write_text(yaml.safe_dump(manifest | about | {"acquisitions": entries}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(os.environ["SUPERRES_DATA"]))
