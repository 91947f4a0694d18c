"""How much memory something takes while it runs, and how much there is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

R = TypeVar("R")
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Footprint:
    """The most that was held at once beyond what was held before, in bytes; 0 where the system does not say."""

    host: int
    device: int


def measured(device: torch.device, function: Callable[[], R]) -> tuple[R, Footprint]:
    """A function's result, and what memory it took on the way."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before_device = torch.cuda.memory_allocated(device)
    can_tell = _forget_peak()
    before = held()
    result = function()
    host = max(_status("VmHWM") - before, 0) if can_tell else 0
    return result, Footprint(host, torch.cuda.max_memory_allocated(device) - before_device if on_gpu else 0)


def held() -> int:
    """Resident memory of this process; 0 where the system does not say."""
    return _status("VmRSS")


def available() -> int | None:
    """Memory that this process may still take, of the machine and of its control group; None where nobody says."""
    found = [room for room in (_of_machine(), _of_group()) if room is not None]
    return min(found) if found else None


def available_on(device: torch.device) -> int | None:
    """Free memory of a GPU, what torch holds in reserve included; None for the CPU."""
    if device.type != "cuda":
        return None
    reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + reserve


def _forget_peak() -> bool:
    """Have the kernel count the peak of resident memory from now on (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(field: str) -> int:
    try:
        found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    except OSError:
        return 0
    return int(found.group(1)) * 1024 if found else 0


def _of_machine() -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
    except OSError:
        return None
    return int(found.group(1)) * 1024 if found else None


def _of_group() -> int | None:
    try:
        most, now = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return None
    return max(int(most) - int(now), 0) if most.isdecimal() and now.isdecimal() else None
