"""Some channels of a file as a volume of their own: a file may hold both images of a pair."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.errors import InputError
from superres.volumes import Volume, open_volume
from superres.volumes.axes import Region
from superres.volumes.volume import view_of

Channels = tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class ChosenChannels:
    """Channels of a volume in the order in which they are named, read when asked for."""

    volume: Volume
    channels: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """TCZYX."""
        t, _, *zyx = self.volume.shape
        return (t, len(self.channels), *zyx)

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the volume."""
        return self.volume.dtype

    def __getitem__(self, region: Region, /) -> NDArray[Any]:
        """Read the region; slices have start, stop and step 1 within the shape."""
        times, places, z, y, x = region
        return np.stack(
            [
                np.stack([self.volume.read(t=t, c=c, z=z, y=y, x=x) for c in self.channels[places]])
                for t in range(times.start, times.stop)
            ]
        )


def open_channels(path: Path, axes: str | None, channels: Channels) -> Volume:
    """Open a file as a manifest says: all of it, or the channels that it names.

    Parameters
    ----------
    path : Path
        An image.
    axes : str or None
        Where the file does not tell.
    channels : tuple of int or None
        Counted from 0; None for all.

    Raises
    ------
    InputError
        When the file cannot be read, or has no such channel.
    """
    volume = open_volume(path, axes=axes)
    if channels is None:
        return volume
    count = volume.shape[1]
    if max(channels) >= count:
        raise InputError(
            f"{path}: channels {list(channels)} asked for in the manifest, it has {count} (0 to {count - 1}); correct "
            "'channels' there, or give 'axes' if another axis holds them"
        )
    told = {
        name: tuple(values[c] for c in channels) if (values := getattr(volume, name)) else ()
        for name in ("channel_names", "channel_colours", "channel_windows")
    }
    return view_of(volume, ChosenChannels(volume, channels), **told)
