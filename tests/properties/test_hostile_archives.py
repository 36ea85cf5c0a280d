"""Archives that are damaged or made to harm: no file elsewhere, no conversation in part, no unexpected error.

CONVSTORE_TEST_EXAMPLES says how many examples of each kind are tried; `make hostile` tries 2,000.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app import ConversationStore, Settings
from app.errors import StoreError
from app.model.archive_format import FOREIGN_ARCHIVE, Limits
from app.store.admin.archive_import import Action, import_conversations
from tests.builders import make_event, make_id
from tests.files.archives import ONE, Entry, file_line, good_entries, hostile_lines, hostile_zips, make_lines, make_zip

pytestmark = pytest.mark.long

EXAMPLES = int(os.environ.get("CONVSTORE_TEST_EXAMPLES", "60"))
LIMITS = Limits(file_bytes=1 << 20, total_bytes=4 << 20, files=200)

many = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Place(NamedTuple):
    """A store that many examples import into, in a directory of which nothing else may change."""

    runner: asyncio.Runner
    store: ConversationStore
    around: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, _shared_index: str) -> Iterator[Place]:
    around = tmp_path_factory.mktemp("hostile")
    root = around / "a" / "b" / "conversations"
    root.mkdir(parents=True)
    (around / "a" / "secret").write_text("secret")
    with asyncio.Runner() as runner:
        opening = ConversationStore.open(Settings(store=root))
        store = runner.run(opening.__aenter__())
        yield Place(runner, store, around)
        runner.run(opening.__aexit__(None, None, None))


def surroundings(place: Place) -> dict[str, bytes]:
    """Return all files around the store and in it, but for convstore's own."""
    own = place.store.reader.root / ".convstore"
    return {
        str(path.relative_to(place.around)): path.read_bytes() if path.is_file() else b"/"
        for path in place.around.rglob("*")
        if not path.is_relative_to(own)
    }


def check(place: Place, raw: bytes) -> None:
    """Import an archive: either it is refused and nothing changed, or all that it holds stands there, whole."""
    root = place.store.reader.root
    upload = root / ".convstore" / "upload"
    upload.write_bytes(raw)
    before = surroundings(place)
    try:
        plan = place.runner.run(import_conversations(place.store, [upload], LIMITS))
    except StoreError:
        assert surroundings(place) == before
        return
    after = surroundings(place)
    prefixes = tuple(f"a/b/conversations/{one.target}/" for one in plan)
    new = {name: content for name, content in after.items() if name not in before}
    assert before.items() <= after.items()
    assert all(f"{name}/".startswith(prefixes) for name in new)
    assert all(one.action in (Action.IMPORT, Action.UNCHANGED) for one in plan)
    files = [name for name, content in new.items() if content != b"/" and not name.endswith(".marker")]
    assert len(files) == sum(one.files for one in plan if one.action is Action.IMPORT)
    for one in plan:
        shutil.rmtree(root / one.target)


GOOD_ZIP = make_zip([*good_entries(), (f"{ONE}/observations/a.txt", b"long output " * 50)])
GOOD_LINES = make_lines(make_event(0), make_event(1), file_line("a", base64="aGVsbG8="))
SEEDS = [GOOD_ZIP, GOOD_LINES, *hostile_zips().values(), *hostile_lines().values()]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw an archive with some of its bytes changed, taken away, added or repeated."""
    raw = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        begin = draw(st.integers(0, len(raw)))
        end = min(len(raw), begin + draw(st.integers(0, 40)))
        match draw(st.sampled_from(["change", "cut", "add", "repeat", "end"])):
            case "change":
                raw[begin:end] = draw(st.binary(min_size=end - begin, max_size=end - begin))
            case "cut":
                del raw[begin:end]
            case "add":
                raw[begin:begin] = draw(st.binary(max_size=40))
            case "repeat":
                raw[begin:begin] = raw[begin:end] * draw(st.integers(1, 5))
            case _:
                del raw[begin:]
    return bytes(raw)


PARTS = st.sampled_from(
    [
        "..", ".", "", ONE, ONE.upper(), make_id(2), "events", "Events", "meta.json", "META.JSON", "base_state.json",
        "convstore.json", "observations", "é", "e\u0301", "nul", "a:b", "a\\b", "..\\..", "C:", "a ", "a.", "\x01",
        "ß", "SS", f"event-00000-{make_event(0)['id']}.json", "event-00001-aaaaaaaa.json", ".eventlog.lock", "x" * 260,
        "owner_lease.json", "acp", "\u202e", "conversations", ".convstore", ".trash", "index.db",
    ]
)  # fmt: skip
NAMES = st.lists(PARTS | st.text(max_size=8), min_size=1, max_size=5).map("/".join)
CONTENTS = st.sampled_from([b"", b"{}", b"{", b"x" * 1000, bytes(1 << 16), b'{"id":"../../x"}'])
ENTRIES = st.lists(st.tuples(NAMES, CONTENTS), max_size=8)


def encodable(entries: list[tuple[str, bytes]]) -> list[Entry]:
    return [(name.encode("utf-8", "replace").decode() or "a", content) for name, content in entries]


@given(damaged())
@many
def test_a_damaged_archive_harms_nothing(place: Place, raw: bytes) -> None:
    check(place, raw)


@given(ENTRIES, st.booleans(), st.booleans())
@example([("\0x", b""), ("", b"x")], True, False)
@many
def test_a_zip_of_any_names_harms_nothing(
    place: Place, entries: list[tuple[str, bytes]], good: bool, inside: bool
) -> None:
    placed = [(f"{ONE}/{name}" if inside else name, content) for name, content in entries]
    check(place, make_zip([*(good_entries() if good else []), *encodable(placed)]))


LINES = st.lists(
    st.one_of(
        st.tuples(NAMES, st.sampled_from(["text", "base64", "json"]), st.text(max_size=20)).map(
            lambda drawn: file_line(drawn[0].encode("utf-8", "replace").decode(), **{drawn[1]: drawn[2]})
        ),
        st.builds(make_event, st.integers(0, 3)),
        st.dictionaries(st.sampled_from(["convstore", "id", "name", "text"]), st.text(max_size=8) | st.integers()),
        st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"")),
    ),
    max_size=8,
)


@given(LINES)
@many
def test_lines_of_any_kind_harm_nothing(place: Place, lines: list[object]) -> None:
    check(place, make_lines(*lines))


@pytest.mark.parametrize("raw", [GOOD_ZIP, GOOD_LINES], ids=["zip", "lines"])
def test_what_is_damaged_here_would_else_be_imported(place: Place, raw: bytes) -> None:
    upload = place.store.reader.root / ".convstore" / "upload"
    upload.write_bytes(raw)
    [planned] = place.runner.run(import_conversations(place.store, [upload], FOREIGN_ARCHIVE))
    assert planned.action is Action.IMPORT
    shutil.rmtree(place.store.reader.root / planned.target)
