"""Timing that is fair to every candidate: they take turns, so that a slow moment hits all of them."""

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Timing:
    """Seconds of one call."""

    median: float
    best: float


def time_in_turns(
    candidates: dict[str, Callable[[], object]], device: str, repeats: int, shortest_sample: float = 2e-3
) -> dict[str, Timing]:
    """Time each candidate `repeats` times; a sample is calls for about `shortest_sample` seconds."""
    calls = {name: _calls_in(shortest_sample, run, device) for name, run in candidates.items()}
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, run in candidates.items():
            samples[name].append(_seconds(run, calls[name], device))
    return {name: Timing(statistics.median(values), min(values)) for name, values in samples.items()}


def machine(device: str) -> str:
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{_cpu_model()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _calls_in(duration: float, run: Callable[[], object], device: str) -> int:
    _seconds(run, 3, device)
    return max(1, int(duration / _seconds(run, 1, device)))


def _seconds(run: Callable[[], object], calls: int, device: str) -> float:
    _wait_for(device)
    start = time.perf_counter()
    for _ in range(calls):
        run()
    _wait_for(device)
    return (time.perf_counter() - start) / calls


def _wait_for(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() or platform.machine()
    fields = dict(
        [part.strip() for part in line.split(":", 1)]
        for line in cpuinfo.read_text().split("\n\n")[0].splitlines()
        if ":" in line
    )
    name = fields.get("model name", platform.machine())
    return f"{name} (family {fields.get('cpu family')}, model {fields.get('model')})"
