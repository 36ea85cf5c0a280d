"""Whether a store's directory and index are there, and how large the index is."""

from __future__ import annotations

from pathlib import Path

from app.errors import IndexUnusable, StoreUnavailable


def require_files(root: Path, index_path: Path) -> None:
    """Make sure that the conversations directory and the index's file are there.

    Raises:
        StoreUnavailable: the directory is gone.
        IndexUnusable: the index was deleted under this process.
    """
    if not root.is_dir():
        raise StoreUnavailable(f"the conversations directory {root} is gone; mount or restore it")
    if not index_path.exists():
        raise IndexUnusable(
            f"the index {index_path} is gone; a server builds it again soon, when the conversations are there"
        )


def measure_files(index_path: Path) -> dict[str, int]:
    """Return the bytes of the index's files: `index_bytes` and `wal_bytes`, 0 for one that does not exist."""
    sizes = {}
    for name, suffix in (("index_bytes", ""), ("wal_bytes", "-wal")):
        try:
            sizes[name] = Path(f"{index_path}{suffix}").stat().st_size
        except OSError:
            sizes[name] = 0
    return sizes
