"""Erasing: no text of an erased conversation or event is left in the raw bytes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from app import Settings
from app.errors import ConversationNotFound, EventNotFound, IndexBusy
from app.files import trash
from app.files.trash import TrashEntry
from app.index.sqlite.backup import back_up
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId
from app.store.admin.erase import erase_conversations, erase_event
from app.store.follow.full_sync import ignore_progress
from app.store.follow.rebuild import rebuild
from tests.builders import index_path, make_conversation, make_id, make_message_event
from tests.conftest import StoreOpener

ONE, TWO = ConversationId(make_id(1)), ConversationId(make_id(2))
SAID = "the launch code of the old silo is seven three nine"
SHARED = "both conversations have this sentence in common"
EVENT = make_message_event(1, SAID)["id"]


def holders(directory: Path, text: str = SAID) -> list[str]:
    """Return the files that contain a text. Another process reads them, because this one has the index open."""
    ran = subprocess.run(["grep", "-rlaF", text, "."], cwd=directory, capture_output=True, text=True, check=False)
    return sorted(ran.stdout.splitlines())


@pytest.fixture
def filled(root: Path) -> Path:
    make_conversation(root, 1, events=[make_message_event(0, SHARED), make_message_event(1, SAID, SAID * 300)])
    make_conversation(root, 2, events=[make_message_event(0, SHARED)])
    return root


async def test_deleting_for_good_leaves_the_text_in_the_index(filled: Path, open_store: StoreOpener) -> None:
    async with open_store(filled) as store:
        await store.delete(ONE, permanent=True)
        assert holders(filled) != []


async def test_erasing_leaves_the_text_nowhere(filled: Path, open_store: StoreOpener) -> None:
    async with open_store(filled) as store:
        erased = await erase_conversations(store, [ONE])
        assert holders(filled) == []
        assert (erased.ids, erased.still_in, erased.forks, erased.log_empty) == ([ONE], [], [], True)
        assert (erased.is_complete, erased.searched) == (True, 3)
        assert await store.list_ids(ConversationFilter()) == [TWO]
        assert await store.count_conversations(ConversationFilter(q="sentence")) == 1
        with pytest.raises(ConversationNotFound):
            await erase_conversations(store, [ConversationId(make_id(9))])


async def test_an_entry_of_the_trash_is_erased_too(filled: Path, open_store: StoreOpener) -> None:
    async with open_store(filled) as store:
        await store.delete(ONE)
        make_conversation(filled, 1, events=[make_message_event(0, "it was created a second time")])
        await store.sync()
        await store.delete(ONE)
        await erase_conversations(store, [ONE])
        assert (await store.list_trash(0, None))[1] == 0
        assert holders(filled) == holders(filled, "a second time") == []


async def test_an_index_that_gets_busy_is_told_and_rebuilding_it_removes_the_rest(
    filled: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse() -> bool:
        raise IndexBusy("another program has been holding the index for too long; try again")

    async with open_store(filled) as store:
        monkeypatch.setattr(store.index, "purge", refuse)
        erased = await erase_conversations(store, [ONE])
        assert (erased.is_complete, erased.log_empty) == (False, False)
        assert erased.warning is not None
        assert "`convstore index rebuild` removes the rest" in erased.warning
    assert {Path(path).parent.name for path in erased.still_in} == {".convstore"}
    assert holders(filled) != []
    await rebuild(Settings(store=filled), ignore_progress)
    assert holders(filled) == []


async def test_erasing_many_lists_the_trash_as_often_as_erasing_one(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 7):
        make_conversation(root, number)
    listed: list[Path] = []
    list_trash = trash.list_trash

    def count_listings(root: Path) -> list[TrashEntry]:
        listed.append(root)
        return list_trash(root)

    counts = []
    async with open_store(root) as store:
        for number in (1, 2, 4):
            await store.delete(ConversationId(make_id(number)))
        monkeypatch.setattr(trash, "list_trash", count_listings)
        for numbers in ([1], [2, 3, 4, 5]):
            listed.clear()
            await erase_conversations(store, [ConversationId(make_id(number)) for number in numbers])
            counts.append(len(listed))
        assert (await store.list_trash(0, None))[1] == 0
        assert await store.list_ids(ConversationFilter()) == [ConversationId(make_id(6))]
    assert counts[0] == counts[1]


async def test_a_backup_that_still_has_the_text_is_named(filled: Path, open_store: StoreOpener, tmp_path: Path) -> None:
    elsewhere = tmp_path / "mounted" / "copy"
    elsewhere.mkdir(parents=True)
    (elsewhere / "event.json").write_text(json.dumps({"text": SAID}))
    backup = index_path(filled).with_name("index.db.20260101T000000Z.backup")
    async with open_store(filled) as store:
        back_up(index_path(filled), backup)
        erased = await erase_conversations(store, [ONE], places=[tmp_path / "mounted"])
    assert erased.still_in == sorted([str(backup), str(elsewhere / "event.json")])
    assert not erased.is_complete


async def test_a_fork_is_named(filled: Path, open_store: StoreOpener) -> None:
    async with open_store(filled) as store:
        fork = await store.fork(ONE)
        erased = await erase_conversations(store, [ONE])
    assert erased.forks == [fork.id]
    assert [name.split("/")[1] for name in holders(filled)] == [".convstore", fork.id]


async def test_the_texts_of_one_event_are_erased_and_its_place_is_kept(filled: Path, open_store: StoreOpener) -> None:
    path = next((filled / ONE / "events").glob(f"*{EVENT}.json"))
    before = json.loads(path.read_bytes())
    async with open_store(filled) as store:
        erased = await erase_event(store, ONE, EVENT)
        assert holders(filled) == []
        assert (erased.is_complete, erased.still_in) == (True, [])
        with pytest.raises(EventNotFound):
            await erase_event(store, ONE, "no-such-event")
        assert await store.count_conversations(ConversationFilter(q="launch")) == 0
    after = json.loads(path.read_bytes())
    assert {name: after[name] for name in ("id", "timestamp", "source", "kind")} == {
        name: before[name] for name in ("id", "timestamp", "source", "kind")
    }
    assert {part["text"] for part in after["llm_message"]["content"]} == {"[erased]"}


async def test_a_file_of_the_conversation_that_repeats_the_event_is_named(
    filled: Path, open_store: StoreOpener
) -> None:
    state = filled / ONE / "base_state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"last_words": SAID}))
    async with open_store(filled) as store:
        assert (await erase_event(store, ONE, EVENT)).still_in == [str(state)]


if "OPENHANDS_PYTHON" in os.environ:

    def test_the_sdk_reads_every_event_of_the_corpus_after_its_erasure(corpus: Path, tmp_path: Path) -> None:
        from app.model.erased_event import erase_texts  # noqa: PLC0415

        lines = [
            json.dumps(erase_texts(json.loads(path.read_bytes())))
            for path in sorted(corpus.glob("*/events/event-*.json"))
            if path.stat().st_size
        ]
        (tmp_path / "events").write_text("\n".join(lines))
        code = (
            "import json, sys\nfrom openhands.sdk.event import Event\nimport openhands.tools\n"
            "for line in open(sys.argv[1]):\n    Event.model_validate(json.loads(line))\nprint('read')"
        )
        ran = subprocess.run(
            [os.environ["OPENHANDS_PYTHON"], "-c", code, tmp_path / "events"],
            env=os.environ | {"OPENHANDS_SUPPRESS_BANNER": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.stdout.endswith("read\n"), ran.stderr[-2000:]
