"""Where nets run."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from superres.errors import SuperresError

NetT = TypeVar("NetT", bound=nn.Module)
T = TypeVar("T")
R = TypeVar("R")

# Options of glibc's mallopt(3), and what they come to by themselves in a process that frees large blocks.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}
# How long freed memory is kept; to take it again costs a tenth of a second.
_KEPT_SECONDS = 10.0


@dataclass(slots=True)
class _Keeping:
    """How many keep the heap of the process at the moment."""

    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


_KEEPING = _Keeping()


def place(net: NetT, device: torch.device) -> NetT:
    """Move a net to a device, its kernels stored channels last: the layout in which convolutions run fastest."""
    is_deep = any(parameter.ndim == 5 for parameter in net.parameters())
    last = torch.channels_last_3d if is_deep else torch.channels_last
    return net.to(device).to(memory_format=last)  # type: ignore[call-overload,no-any-return]


def layout(batch: Tensor) -> torch.memory_format:
    """Return the layout that `place` gives the kernels of a net that takes this batch, (n, c, [z,] y, x)."""
    return torch.channels_last if batch.ndim == 4 else torch.channels_last_3d


def choose_device(name: str) -> torch.device:
    """Return the device of a setting; ``auto`` takes CUDA, then Apple's GPU, then the CPU.

    Raises
    ------
    SuperresError
        When the device asked for is not there.
    """
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise SuperresError(f"device {name}: no CUDA GPU is available to torch {torch.__version__}; use device=cpu")
    if name.startswith("cuda:") and int(name.removeprefix("cuda:")) >= (count := torch.cuda.device_count()):
        raise SuperresError(f"device {name}: this machine has {count}, counted from 0; use device=cuda:{count - 1}")
    if name == "mps" and not torch.backends.mps.is_available():
        raise SuperresError(f"device mps: no Apple GPU is available to torch {torch.__version__}; use device=cpu")
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def all_devices(device: torch.device) -> list[torch.device]:
    """Return the devices that one stands for: every GPU for ``cuda`` without a number."""
    if device.type != "cuda" or device.index is not None:
        return [device]
    return [torch.device("cuda", number) for number in range(torch.cuda.device_count())]


def free_memory(device: torch.device) -> int | None:
    """Return how many bytes can still be taken on a device; None where that cannot be found out."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    limits = [_free_on_host(), _free_in_group()]
    known = [limit for limit in limits if limit is not None]
    return min(known) if known and device.type == "cpu" else None


def _free_on_host() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None


def _free_in_group() -> int | None:
    """Return what the container, or the job of a cluster, may still take."""
    group = Path("/sys/fs/cgroup")
    try:
        return int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return None


def computes_faster_rounded(device: torch.device) -> bool:
    """Whether the hardware computes in bfloat16 by itself; otherwise torch does so many times slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def autocast(device: torch.device, *, trains_dimensions: int = 0) -> torch.autocast:
    """Return bfloat16 autocast where the hardware has it, else a context that does nothing.

    Parameters
    ----------
    device : torch.device
        Where the net runs.
    trains_dimensions : int
        Dimensions of the net's convolutions where gradients are taken through it. Those of three dimensions on a CPU
        are taken in float32: oneDNN's gradient of the weights in bfloat16 reads memory that nobody wrote where an image
        is two planes deep (torch 2.13; up to 1e38, or NaN), as patches are in the depth of a net.
    """
    is_sound = device.type != "cpu" or trains_dimensions < 3
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_sound and computes_faster_rounded(device))


def full_precision(device: torch.device) -> torch.autocast:
    """Return a context without autocast: what is added to a prediction must not be rounded to 8 bits of mantissa."""
    return torch.autocast(device.type, enabled=False)


def one_heap() -> None:
    """Let all threads that start from now on take their memory from one heap, for the rest of the process.

    glibc gives every thread that works beside others a heap of its own, and what one of them has freed no other can
    take: a batch of small files took twice the memory, and a third more of the system's time. To be called before there
    are other threads; on other systems this does nothing.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def on_own_cores(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Do small things side by side, each by one thread, on as many cores as torch uses here; results in order.

    Torch would share out every single operation over the cores, and wait for all of them each time.

    Raises
    ------
    Exception
        The first one that `work` raised.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(items) < 2:
        return [work(item) for item in items]
    return list(_own_cores(os.getpid(), threads).map(work, items))


@cache
def _own_cores(process: int, threads: int) -> ThreadPoolExecutor:
    """Make the pool of a process; a process that was forked has none of its parent's threads."""
    lock = threading.Lock()

    def alone() -> None:
        with lock:
            torch.get_num_threads()  # torch sets the number of a thread when it is first needed there
            torch.set_num_threads(1)
            # Which is for this thread, and for those that come later: they are to have as many as before.
            later = threading.Thread(target=torch.set_num_threads, args=(threads,))
            later.start()
            later.join()

    pool = ThreadPoolExecutor(threads, thread_name_prefix=f"superres-core-{process}", initializer=alone)
    # All of them start now and are waited for: a thread that came while one is started would have one core for good.
    together = threading.Barrier(threads)
    list(pool.map(lambda _: together.wait(), range(threads)))
    return pool


class Heap:
    """Where a process keeps freed memory while a net runs; see `heap_kept`.

    Parameters
    ----------
    libc : CDLL or None
        That of glibc; None where nothing is done.
    """

    def __init__(self, libc: ctypes.CDLL | None) -> None:
        self._libc = libc
        self._next = time.monotonic() + _KEPT_SECONDS

    def settle(self) -> None:
        """Give freed memory back, where that was not done lately; to be called now and then.

        Blocks of many sizes leave holes between them, of which there are the more the longer it goes on.
        """
        if self._libc is not None and time.monotonic() >= self._next:
            self._libc.malloc_trim(0)
            self._next = time.monotonic() + _KEPT_SECONDS


@contextmanager
def heap_kept(device: torch.device) -> Iterator[Heap]:
    """Keep freed memory for the next layer while a net runs on the CPU; give it back to the system at the end.

    glibc maps every block above 32 MB anew, and the system fills it with zeros page by page: a fifth to a third of the
    time of a net whose layers are larger than that. On other systems, and for other devices, this does nothing. Where
    several keep it, inside each other or in several threads, the last one to end gives it back.
    """
    if device.type != "cpu" or platform.libc_ver()[0] != "glibc":
        yield Heap(None)
        return
    libc = ctypes.CDLL(None)
    with _KEEPING.lock:
        _KEEPING.count += 1
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield Heap(libc)
    finally:
        with _KEEPING.lock:
            _KEEPING.count -= 1
            if _KEEPING.count == 0:
                for option, value in _USUAL.items():
                    libc.mallopt(option, value)
                libc.malloc_trim(0)
