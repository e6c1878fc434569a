"""Data sets: manifests, splits by acquisition, and pairs of low and high images."""

from __future__ import annotations

from superres.datasets.duplicates import refuse_duplicates
from superres.datasets.manifest import Acquisition, Manifest, load_manifest
from superres.datasets.pairs import fit_intensity
from superres.datasets.registration import register_pair

__all__ = ["Acquisition", "Manifest", "fit_intensity", "load_manifest", "refuse_duplicates", "register_pair"]
