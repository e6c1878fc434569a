"""A line across the view: layers of one side left of it, layers of the other side right of it.

napari offers no clipping of images in two dimensions, so the canvas does it: a filter of vispy on the drawn images,
which leaves their data, order and visibility alone. Nothing is read or copied when the line moves, and the line stays
where it is on the screen when one moves about in the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from superres.plugin.placing import camera_of

# Screen pixels: how near to the line one must press to move it, and the size of its handle.
_NEAR = 10.0
_HANDLE = 16.0
_COLOUR = "#ffd23f"
# Longer than any screen is high.
_LONG = 20_000.0


class Swipe:
    """Shows some layers left and others right of a line that can be moved.

    Parameters
    ----------
    viewer : napari.Viewer
        A viewer that is shown.
    moved : callable
        Hears where the line is, as a share of the view's width, when it was dragged.
    """

    def __init__(self, viewer: Any, moved: Callable[[float], None]) -> None:
        self._viewer, self._moved = viewer, moved
        self._sides: tuple[tuple[Any, ...], tuple[Any, ...]] = ((), ())
        self._names = ("", "")
        self._filters: dict[Any, Any] = {}
        self._marks: tuple[Any, ...] = ()
        self._shows_line = True
        self.share = 0.5

    @property
    def is_on(self) -> bool:
        """Whether anything is cut."""
        return bool(self._sides[0] or self._sides[1])

    def start(self, left: Sequence[Any], right: Sequence[Any], names: tuple[str, str], *, line: bool = True) -> None:
        """Cut layers at the line.

        Parameters
        ----------
        left, right : sequence of napari.layers.Layer
            What is shown on either side; a layer in neither is shown on both.
        names : tuple of str
            Written beside the line.
        line : bool
            Whether the line is drawn and can be dragged.
        """
        if not self.is_on:
            self._canvas.events.resize.connect(self._place)
            self._viewer.mouse_drag_callbacks.append(self._drag)
        self._sides, self._names, self._shows_line = (tuple(left), tuple(right)), names, line
        self._place()

    def stop(self) -> None:
        """Show everything everywhere again."""
        if not self.is_on:
            return
        self._sides = ((), ())
        self._clean(keep=())
        self._canvas.events.resize.disconnect(self._place)
        self._viewer.mouse_drag_callbacks.remove(self._drag)
        for mark in self._marks:
            mark.parent = None
        self._marks = ()
        self._canvas.native.update()

    def move(self, share: float) -> None:
        """Put the line somewhere, as a share of the view's width."""
        self.share = min(max(share, 0.0), 1.0)
        if self.is_on:
            self._place()

    @property
    def _canvas(self) -> Any:
        return self._viewer.window._qt_viewer.canvas

    @property
    def _position(self) -> float:
        return self.share * float(self._canvas.view.size[0])

    def _place(self, event: object = None) -> None:
        """Cut and draw at the place of the line."""
        nodes: list[Any] = []
        for layers, direction in zip(self._sides, (-1.0, 1.0), strict=True):
            plane = np.array([[[self._position, 0, 0], [direction, 0, 0]]], np.float32)
            for node in (node for layer in layers for node in self._nodes(layer)):
                self._filter_of(node).clipping_planes = plane
                node.update()
                nodes.append(node)
        self._clean(keep=nodes)
        self._draw_line()

    def _nodes(self, layer: Any) -> Sequence[Any]:
        """Return what is drawn of a layer: an image, or the tiles of one that is too large for the graphics card."""
        visual = self._canvas.layer_to_visual.get(layer)
        return () if visual is None else getattr(visual.node, "adopted_children", (visual.node,))

    def _filter_of(self, node: Any) -> Any:
        from vispy.visuals.filters.clipping_planes import PlanesClipper

        if node not in self._filters:
            self._filters[node] = PlanesClipper(coord_system="canvas")
            node.attach(self._filters[node])
        return self._filters[node]

    def _clean(self, keep: Sequence[Any]) -> None:
        for node in [node for node in self._filters if node not in keep]:
            node.detach(self._filters.pop(node))
            node.update()

    def _draw_line(self) -> None:
        if not self._marks:
            self._marks = self._new_marks()
        line, handle, left, right = self._marks
        x, height = self._position, float(self._canvas.view.size[1])
        line.set_data(np.array([[x, 0.0], [x, _LONG]], np.float32))
        handle.set_data(
            np.array([[x, height / 2]], np.float32), size=_HANDLE, face_color=_COLOUR, edge_color="black", edge_width=1
        )
        for text, name, side in zip((left, right), self._names, (-1, 1), strict=True):
            text.text, text.pos = name, (x + 8 * side, 12)
        for mark in self._marks:
            mark.visible = self._shows_line
        self._canvas.native.update()

    def _new_marks(self) -> tuple[Any, ...]:
        from vispy.scene.visuals import Line, Markers, Text

        view = self._canvas.view
        line = Line(np.zeros((2, 2), np.float32), color=_COLOUR, width=2, parent=view)
        handle = Markers(parent=view)
        sides = [
            Text(" ", color=_COLOUR, font_size=10, bold=True, anchor_x=anchor, anchor_y="bottom", parent=view)
            for anchor in ("right", "left")
        ]
        for number, mark in enumerate((line, handle, *sides)):
            mark.order = 10_000 + number
            mark.set_gl_state("translucent", depth_test=False)
        return (line, handle, *sides)

    def _drag(self, viewer: Any, event: Any) -> Iterator[None]:
        """Move the line with the mouse, if it was pressed near it."""
        if not self._shows_line or abs(float(event.pos[0]) - self._position) > _NEAR:
            return
        camera = camera_of(viewer)
        pans, camera.mouse_pan = camera.mouse_pan, False
        try:
            yield
            while event.type == "mouse_move":
                self.move(float(event.pos[0]) / float(self._canvas.view.size[0]))
                self._moved(self.share)
                yield
        finally:
            camera.mouse_pan = pans
