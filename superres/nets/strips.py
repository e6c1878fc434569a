"""A net that works its way down a plane: strips of it come in, strips of its prediction come out.

A tile is predicted with a halo on all sides, which is a third to a half of the work. Strips that follow on each other
share theirs: every group of layers keeps the last rows that it was given, as many as it looks at around a row, and
computes the others once. What comes out is what `UNet.within` gives for one tall tile, bit for bit, and the memory is
that of a strip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from superres.nets.architecture import SMALL_INPUT, SMALLEST_INPUT
from superres.nets.unet import UNet, part_of


class _Rows(NamedTuple):
    """Rows of a level, (1, c, rows, columns), and the number of the first one, counted from the first that came."""

    values: Tensor
    start: int

    @property
    def stop(self) -> int:
        return self.start + self.values.shape[2]


class Strips:
    """One column of a plane on its way through a net.

    Only nets of two dimensions can go this way that work on the grid of their input and attend to no other place.

    Parameters
    ----------
    net : UNet
        In evaluation mode.
    first : int
        Rows that are given before the first one that is wanted: the halo, at least the receptive radius.
    width : int
        Columns that are given.
    inner : slice
        Those of them that are wanted.
    interval : bool
        Whether to append the half-widths, as `UNet.within` does; the net has a head for them then.
    """

    def __init__(self, net: UNet, *, first: int, width: int, inner: slice, interval: bool) -> None:
        self._net, self._first, self._width, self._inner, self._interval = net, first, width, inner, interval
        of = net.architecture
        tall = torch.empty((1, of.inputs, first + 4 * SMALLEST_INPUT, width), device="meta")
        self._needed = net.needed(tall, (slice(first, first + 2 * SMALLEST_INPUT), inner))
        edge = 2 * of.blocks
        self._encoders = [
            _Window(self._encoding(level), edge + (level == 0), of.inputs if level == 0 else width_of, step=2)
            for level, width_of in enumerate(of.widths[:-1])
        ]
        self._middle = _Window(lambda rows: net.middle(rows.values), 2 * of.middle_blocks, of.widths[-1])
        self._decoders = [
            _Window(self._decoding(level), edge, width_of) for level, width_of in enumerate(of.widths[:-1])
        ]
        self._ending = _Window(self._end, 1 + of.following[0], 1)
        self._skips = [_Waiting() for _ in self._encoders]
        self._low = _Waiting()
        self._given = 0

    @torch.no_grad()
    def further(self, low: Tensor) -> Tensor:
        """Take the next rows.

        Parameters
        ----------
        low : Tensor
            float32, (1, inputs, rows, width), which stand right below what was given before; a multiple of the stride.

        Returns
        -------
        Tensor
            float32, (1, channels or 3 channels, rows * fy, columns * fx): the next rows of the wanted columns, from
            the first wanted one on, as far as nothing of them depends on what comes below; none at first.
        """
        rows = _Rows(low, self._given)
        self._given = rows.stop
        self._low.add(rows)
        features = self._through(rows, 0)
        made = None if features is None else self._ending.give(features)
        (fy, fx), channels = self._net.factor, self._net.architecture.channels * (3 if self._interval else 1)
        if made is None:
            return low.new_empty((1, channels, 0, (self._inner.stop - self._inner.start) * fx))
        return made.values[:, :, max(0, self._first - made.start) * fy :]

    def _through(self, rows: _Rows, level: int) -> _Rows | None:
        """Take rows of a level down to the coarsest one and up again."""
        if level == len(self._encoders):
            return self._middle.give(rows)
        encoded = self._encoders[level].give(rows)
        if encoded is None:
            return None
        self._skips[level].add(encoded)
        pooled = _Rows(self._net.down[level](encoded.values), encoded.start // 2)
        found = self._through(pooled, level + 1)
        joined = None if found is None else self._joined(found, level)
        return None if joined is None else self._decoders[level].give(joined)

    def _joined(self, coarse: _Rows, level: int) -> _Rows | None:
        """Bring rows of the next level to this one, and add what the encoder kept for them."""
        scale = self._net.architecture.scales[level + 1][1]
        wanted = self._needed[level]
        above = max(0, wanted[0].start // scale - coarse.start)
        if above >= coarse.values.shape[2]:
            return None
        values = self._columns(coarse.values[:, :, above:], level, self._place(level + 1), scale)
        fine = self._net.up[level](values)
        start = 2 * (coarse.start + above)
        for skip in self._skips[level].take(start, start + fine.shape[2]):
            kept = self._columns(skip.values, level, slice(0, self._width), scale // 2)
            if kept.dtype != fine.dtype:
                fine = fine.to(torch.promote_types(kept.dtype, fine.dtype))
            fine[:, :, skip.start - start : skip.stop - start].add_(kept)
        return _Rows(fine, start)

    def _place(self, level: int) -> slice:
        """Return the columns that a level's decoder holds, in voxels of the input."""
        return self._needed[level][1] if level < len(self._needed) else slice(0, self._width)

    def _columns(self, values: Tensor, level: int, here: slice, scale: int) -> Tensor:
        """Cut rows that stand for the columns `here` to those that a level's decoder needs."""
        place = self._place(level)
        return values[..., (place.start - here.start) // scale : -(-(place.stop - here.start) // scale)]

    def _encoding(self, level: int) -> Callable[[_Rows], Tensor]:
        def work(rows: _Rows) -> Tensor:
            x = self._net.stem(rows.values) if level == 0 else rows.values
            encoded: Tensor = self._net.encoder[level](x)
            return encoded

        return work

    def _decoding(self, level: int) -> Callable[[_Rows], Tensor]:
        def work(rows: _Rows) -> Tensor:
            decoded: Tensor = self._net.decoder[level](rows.values)
            return decoded

        return work

    def _end(self, features: _Rows) -> Tensor:
        """Turn features into the prediction and its half-widths, in the wanted columns."""
        net, here, (fy, fx) = self._net, self._place(0), self._net.factor
        # Interpolation looks two rows far, one more than the last convolution.
        above = min(1, features.start)
        wide = torch.cat([rows.values for rows in self._low.take(features.start - above, features.stop + 1)], dim=2)
        wide = wide[..., here]
        low = wide[:, :, above : above + features.values.shape[2]]
        plain = net.interpolate(wide)[:, :, above * fy : above * fy + low.shape[2] * fy]
        parts = (net.follow(plain + net.residual(features.values), low),)
        if self._interval and net.interval_head is not None:
            parts += net.interval_head(features.values)
        wanted = slice((self._inner.start - here.start) * fx, (self._inner.stop - here.start) * fx)
        return torch.cat([part_of(part, (wanted,)) for part in parts], dim=1)


class _Window:
    """Layers that look at `edge` rows to either side of each, given rows as they come.

    Parameters
    ----------
    work : callable
        The layers.
    edge : int
        How far they look.
    channels : int
        Fewest that any of the layers is given: torch convolves few values by another algorithm, which rounds
        differently, so that more rows are waited for.
    step : int
        Rows come out in multiples of it.
    """

    def __init__(self, work: Callable[[_Rows], Tensor], edge: int, channels: int, *, step: int = 1) -> None:
        self._work, self._edge, self._channels, self._step = work, edge, channels, step
        self._held: _Rows | None = None
        self._next = 0  # the first row that did not come out yet

    def give(self, rows: _Rows) -> _Rows | None:
        """Take rows; return those that nothing below can change any more."""
        if self._held is None:
            held, self._next = rows, rows.start
        else:
            held = _Rows(torch.cat([self._held.values, rows.values], dim=2), self._held.start)
        count = (held.stop - self._edge - self._next) // self._step * self._step
        self._held = held
        if count <= 0 or self._channels * held.values.shape[2] * held.values.shape[3] <= SMALL_INPUT:
            return None
        made = self._work(held)
        factor = made.shape[2] // held.values.shape[2]
        above, start = self._next - held.start, self._next
        self._next += count
        kept = max(held.start, self._next - self._edge)
        # A copy, so that the rest is let go.
        self._held = _Rows(held.values[:, :, kept - held.start :].clone(), kept)
        return _Rows(made[:, :, above * factor : (above + count) * factor], start)


class _Waiting:
    """Rows that are needed later, in the pieces in which they came."""

    def __init__(self) -> None:
        self._pieces: list[_Rows] = []

    def add(self, rows: _Rows) -> None:
        """Take rows that stand below those that wait."""
        self._pieces.append(rows)

    def take(self, start: int, stop: int) -> list[_Rows]:
        """Return the rows from `start` to `stop`; pieces that lie wholly above are let go."""
        self._pieces = [piece for piece in self._pieces if piece.stop > start]
        found = []
        for piece in self._pieces:
            first, last = max(start, piece.start), min(stop, piece.stop)
            if first < last:
                found.append(_Rows(piece.values[:, :, first - piece.start : last - piece.start], first))
        return found
