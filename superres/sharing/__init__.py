"""Models that are passed on: those in the package, what they are called, their cards."""

from __future__ import annotations

from superres.sharing.names import bundled_models, find_model

__all__ = ["bundled_models", "find_model"]
