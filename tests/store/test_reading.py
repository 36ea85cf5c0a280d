"""Reading for the sync: what may be trusted not to change."""

from __future__ import annotations

from pathlib import Path

from app.files.layout import FAILED, Named
from app.files.scan import Reader
from app.model.event import KnownLog
from app.model.ids import ConversationId
from app.store.reading import read_changes, read_rows
from tests.builders import make_conversation, make_id, names_in, opened_files
from tests.conftest import StoreOpener

ONE = ConversationId(make_id(1))


def test_what_the_operating_system_refuses_is_not_trusted(tmp_path: Path) -> None:
    path = make_conversation(tmp_path)
    (path / "meta.json").unlink()
    (path / "meta.json").symlink_to(path / "base_state.json")
    [row], _ = read_rows(Reader(tmp_path, None), [Named(ONE, ONE)])
    reason = "meta.json: cannot be opened (Too many levels of symbolic links)"
    assert (row.signature, row.row.unreadable) == (FAILED, reason)


def test_a_row_is_read_from_its_files_and_the_last_event(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=20)
    last = max(names_in(path / "events"))
    with opened_files() as opened:
        read_rows(Reader(tmp_path, None), [Named(ONE, ONE)])
    assert opened == [str(path), "meta.json", "base_state.json", "events", "convstore.json", "events", last]


def test_a_log_is_read_once(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=20)
    names = sorted(names_in(path / "events"))
    with opened_files() as opened:
        read_changes(Reader(tmp_path, None), [KnownLog(1, ONE, {})])
    assert opened == [str(path), "events", str(path), "events", *names]


async def test_what_the_operating_system_refused_is_read_again_by_the_next_sync(
    root: Path, open_store: StoreOpener
) -> None:
    torn, link = make_conversation(root, 1), make_conversation(root, 2)
    (torn / "meta.json").write_text("{")
    (link / "meta.json").unlink()
    (link / "meta.json").symlink_to("nowhere")
    async with open_store(root) as store:
        report = await store.sync()
        assert (report.changed, report.opened, report.unreadable, report.untrusted) == (1, 1, 2, [])
