"""One run an output: a lock that dies with its process."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

from xaipipe import LockedError, UsageError

_HOLDER = b"process "


class OutputLock:
    """An flock on a file beside the output, which names its holder."""

    def __init__(self, output: Path) -> None:
        self._path = output.with_name(output.name + ".lock")
        self._handle = self._acquire(output)

    def release(self) -> None:
        """Remove the file while it is still ours, then let go."""
        self._path.unlink(missing_ok=True)
        os.close(self._handle)

    def _acquire(self, output: Path) -> int:
        while True:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._still_there(handle):
                    self._require_ours(handle)
                    os.ftruncate(handle, 0)
                    os.write(handle, _HOLDER + f"{os.getpid()} on {socket.gethostname()}".encode())
                    return handle
            except BlockingIOError:
                holder = os.pread(handle, 200, 0).decode(errors="replace")
                os.close(handle)
                raise LockedError(
                    "another run is writing this output",
                    got=f"held by {holder}",
                    where=output,
                    hint="wait for it to end, or choose another output",
                ) from None
            os.close(handle)  # its last holder removed it between our opening and locking it: once more

    def _require_ours(self, handle: int) -> None:
        """What a killed run left, or a power loss of that: nothing, a torn name, zeros. Nobody else's is touched."""
        content = os.pread(handle, 200, 0).strip(b"\0")
        if not content.startswith(_HOLDER) and not _HOLDER.startswith(content):
            os.close(handle)
            raise UsageError("somebody else's file stands where the lock goes", where=self._path)

    def _still_there(self, handle: int) -> bool:
        try:
            return os.fstat(handle).st_ino == self._path.stat().st_ino
        except FileNotFoundError:
            return False
