"""A reader of .npy arrays that misbehaves where a file beside the array says so. Loaded as a plugin file.

`NAME.faults.json` is a list of [fault, level-0 y, x]: a read of a box that holds the place meets the fault. A fault
without a place happens when the slide is opened.
"""

import ctypes
import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np

from xaipipe import InputError, Level, Slide, hookimpl


def swallow(path):
    held = []
    while True:
        held.append(bytearray(64 << 20))


def flaky(path):
    """Refused once, and never again."""
    mark = path.with_suffix(".refused")
    if not mark.exists():
        mark.touch()
        raise OSError(5, "Input/output error")


def chatty(path):
    for _ in range(2000):
        print("a decoder that talks")
        print("a decoder that warns", file=sys.stderr)
    os.write(1, b"past Python")


def worded(path):
    raise InputError("this tile is of rubber", got="rubber", expected="glass", hint="buy glass")


FAULTS = {
    "segfault": lambda path: ctypes.string_at(0),
    "hang": lambda path: ctypes.PyDLL(None).sleep(1000),  # in C, with Python's lock held
    "swallow": swallow,
    "flaky": flaky,
    "chatty": chatty,
    "worded": worded,
    "exit": lambda path: sys.exit(0),
    "hard exit": lambda path: os._exit(0),
    "broken": lambda path: 1 // 0,
    "refused": lambda path: Path("/does/not/exist").stat(),
    "vanished": lambda path: path.unlink(),
}


class Troubled(Slide):
    mpp = 0.5

    def __init__(self, path):
        self.path = path
        self._pixels = np.load(path, mmap_mode="r")
        h, w = self._pixels.shape[:2]
        self.levels = (Level(h, w, 1.0), Level(h // 4, w // 4, 4.0))
        self._faults = json.loads(faults_of(path).read_text()) if faults_of(path).exists() else []
        self._meet(fault for fault, *place in self._faults if not place)

    @property
    def fingerprint(self):
        return hashlib.sha256(self._pixels.tobytes()).hexdigest()

    def read(self, level, y, x, h, w):
        step = 4**level
        places = [(fault, place) for fault, *place in self._faults if place]
        self._meet(fault for fault, (fy, fx) in places if y <= fy // step < y + h and x <= fx // step < x + w)
        if any(fault == "wrong shape" and y <= fy < y + h and x <= fx < x + w for fault, (fy, fx) in places):
            return np.zeros((h, w), np.uint8)
        return np.ascontiguousarray(self._pixels[::step, ::step][y : y + h, x : x + w])

    def _meet(self, faults):
        for fault in faults:
            if fault in FAULTS:
                FAULTS[fault](self.path)


def faults_of(path):
    return path.with_suffix(".faults.json")


@hookimpl(tryfirst=True)
def open_slide(path: Path):
    return Troubled(path) if path.suffix == ".npy" else None
