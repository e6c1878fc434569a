"""The napari plugin: reader, sample images, export and widgets over the functions and settings of the other rooms.

napari finds it by ``napari.yaml``. What that names loads nothing heavy, so that the viewer starts as quickly as before.
"""

from __future__ import annotations

__all__: list[str] = []
