"""The ledger beside a result: which regions are committed, with what content, under which plan."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from xaipipe import Receipt, Region, StorageError, Unreadable

_TABLES = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS shard (
    array TEXT, row_ INTEGER, column_ INTEGER, y INTEGER, x INTEGER, h INTEGER, w INTEGER,
    path TEXT, bytes INTEGER, sha256 TEXT, plan TEXT, doubt TEXT, PRIMARY KEY (array, row_, column_));
CREATE TABLE IF NOT EXISTS origin (
    array TEXT, row_ INTEGER, column_ INTEGER, sha256 TEXT, PRIMARY KEY (array, row_, column_));
CREATE TABLE IF NOT EXISTS unreadable (
    array TEXT, row_ INTEGER, column_ INTEGER, region_y INTEGER, region_x INTEGER, region_h INTEGER, region_w INTEGER,
    level INTEGER, y INTEGER, x INTEGER, h INTEGER, w INTEGER, reason TEXT);
CREATE TABLE IF NOT EXISTS file (path TEXT PRIMARY KEY, content BLOB NOT NULL);
"""


_SUFFIX = ".ledger"


def ledger_path(output: Path) -> Path:
    return output.with_name(output.name + _SUFFIX)


def results_in(folder: Path) -> list[Path]:
    """The results whose ledgers lie in a folder."""
    return [path.with_name(path.name.removesuffix(_SUFFIX)) for path in sorted(folder.glob(f"*{_SUFFIX}"))]


class Ledger:
    """SQLite in WAL mode with full synchronisation: a row is there once its call returned."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with _worded(path):
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_TABLES)

    def close(self) -> None:
        """Leaves one file: the log is folded into the database."""
        with self._lock, _worded(self.path):
            try:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:  # on a full disk there may be no room to fold it
                self._db.close()

    def write_fact(self, name: str, value: Any) -> None:
        self._run("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, json.dumps(value)))

    def fact(self, name: str) -> Any:
        """None where it was never written."""
        rows = self._run("SELECT value FROM fact WHERE name = ?", (name,))
        return json.loads(rows[0][0]) if rows else None

    def record(self, receipt: Receipt, plan: str, origin: str | None = None) -> None:
        """A shard's row; with the hash of what it was made of, where it was made of other shards."""
        region = receipt.region
        box = (region.row, region.column, region.y, region.x, region.h, region.w)
        content = (receipt.path, receipt.bytes, receipt.sha256, plan, None)
        with self._transaction():
            rows = f"INSERT OR REPLACE INTO shard VALUES ({', '.join('?' * 12)})"
            self._db.execute(rows, (receipt.array, *box, *content))
            if origin is not None:
                key = (receipt.array, region.row, region.column)
                self._db.execute("INSERT OR REPLACE INTO origin VALUES (?, ?, ?, ?)", (*key, origin))

    def origin(self, array: str, region: Region) -> str | None:
        """The hash of what a committed shard was made of."""
        query = "SELECT sha256 FROM origin WHERE array = ? AND row_ = ? AND column_ = ?"
        rows = self._run(query, (array, region.row, region.column))
        return rows[0][0] if rows else None

    def receipt(self, array: str, region: Region) -> Receipt | None:
        query = "SELECT * FROM shard WHERE array = ? AND row_ = ? AND column_ = ?"
        rows = self._run(query, (array, region.row, region.column))
        return _receipt(rows[0]) if rows else None

    def receipts(self, array: str | None = None) -> list[Receipt]:
        """Of all arrays, or of one."""
        query = "SELECT * FROM shard WHERE ? IS NULL OR array = ? ORDER BY array, row_, column_"
        return [_receipt(row) for row in self._run(query, (array, array))]

    def distrust(self, array: str, reason: str, region: Region | None = None) -> None:
        """One region, or all, until it is recorded again."""
        one = "" if region is None else " AND row_ = ? AND column_ = ?"
        place = () if region is None else (region.row, region.column)
        self._run(f"UPDATE shard SET doubt = ? WHERE array = ?{one}", (reason, array, *place))

    def doubt(self, array: str, region: Region) -> str | None:
        """Why a recorded region is not to be relied on, however whole its shard is."""
        place = (array, region.row, region.column)
        lost = self._run("SELECT count(*) FROM unreadable WHERE array = ? AND row_ = ? AND column_ = ?", place)[0][0]
        if lost:
            return f"{lost} of its tiles could not be read"
        rows = self._run("SELECT doubt FROM shard WHERE array = ? AND row_ = ? AND column_ = ?", place)
        return rows[0][0] if rows else None

    def note_unreadable(self, array: str, region: Region, parts: tuple[Unreadable, ...]) -> None:
        place = (array, region.row, region.column)
        box = (region.y, region.x, region.h, region.w)
        rows = [(*place, *box, part.level, part.y, part.x, part.h, part.w, part.reason) for part in parts]
        with self._transaction():
            self._db.execute("DELETE FROM unreadable WHERE array = ? AND row_ = ? AND column_ = ?", place)
            self._db.executemany(f"INSERT INTO unreadable VALUES ({', '.join('?' * 13)})", rows)

    def unreadable(self) -> tuple[Unreadable, ...]:
        rows = self._run("SELECT * FROM unreadable ORDER BY array, row_, column_, level, y, x")
        return tuple(Unreadable(row[0], Region(*row[1:7]), *row[7:]) for row in rows)

    def keep_files(self, files: Mapping[str, bytes]) -> None:
        """The result's small files, whole, so that they can be put back."""
        with self._transaction():
            self._db.execute("DELETE FROM file")
            self._db.executemany("INSERT INTO file VALUES (?, ?)", files.items())

    def files(self) -> dict[str, bytes]:
        return dict(self._run("SELECT path, content FROM file ORDER BY path"))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing."""
        with self._lock, _worded(self.path):
            self._db.execute("BEGIN")
            try:
                yield
            except BaseException:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _run(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with self._lock, _worded(self.path):
            return self._db.execute(statement, values).fetchall()


def _receipt(row: Any) -> Receipt:
    array, *box = row[:7]
    return Receipt(array, Region(*box), *row[7:10])


@contextmanager
def _worded(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError("the ledger cannot be used", got=str(error), where=path) from error
