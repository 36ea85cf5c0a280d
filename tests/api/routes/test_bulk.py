"""Many conversations at once: what is refused is told of each, and a dry run says the same."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from app import ConversationStore, Settings
from app.files import layout
from app.files.trash import move_to_trash
from tests.builders import make_conversation, make_id, make_message_event
from tests.conftest import serving

DELETE = "/api/conversations/bulk/delete"
TAG = "/api/conversations/bulk/tag"
ARCHIVE = "/api/conversations/bulk/archive"
IDS = [make_id(number) for number in range(1, 7)]


@pytest.mark.parametrize("tags", [{"A": "b"}, {"a": "x" * 257}, {"a": "\ud800"}])
@pytest.mark.parametrize("dry_run", [True, False])
async def test_tags_that_nobody_could_have_are_refused_for_all(root: Path, tags: Any, dry_run: bool) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        asked = {"ids": IDS[:1], "set": tags, "dry_run": dry_run}
        answer = await client.post(TAG, content=json.dumps(asked), headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_conversation")


async def test_a_dry_run_of_tagging_refuses_what_tagging_refuses(root: Path) -> None:
    paths = [make_conversation(root, number) for number in range(1, 6)]
    (paths[1] / "base_state.json").write_text("{")
    (paths[2] / "base_state.json").unlink()
    (paths[3] / "meta.json").write_text("{")
    (paths[4] / "base_state.json").write_text('{"tags": {"NOT A KEY": "value"}}')
    async with serving(Settings(store=root)) as client:
        asked = {"ids": IDS, "set": {"a": "b"}}
        dry, real = [
            (await client.post(TAG, json=asked | {"dry_run": dry_run})).json()["items"] for dry_run in (True, False)
        ]
    assert [item["code"] for item in real] == [
        None,
        "unreadable_file",
        "unreadable_file",
        "unreadable_file",
        "invalid_conversation",
        "conversation_not_found",
    ]
    assert [item["code"] for item in dry] == [item["code"] for item in real]


async def test_an_unexpected_error_is_told_of_its_conversation_and_the_others_are_done(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        make_conversation(root, number)
    delete = ConversationStore.delete

    async def failing(self: ConversationStore, one: Any, **options: Any) -> None:
        if one == IDS[1]:
            raise RuntimeError("the disk is made of cheese")
        await delete(self, one, **options)

    monkeypatch.setattr(ConversationStore, "delete", failing)
    async with serving(Settings(store=root)) as client:
        answer = await client.post(DELETE, json={"ids": IDS[:3]})
        assert (answer.status_code, answer.json()["done"]) == (200, 2)
        assert [item["code"] for item in answer.json()["items"]] == [None, "internal_error", None]
        assert "cheese" not in answer.text
        assert (await client.get("/api/conversations/count")).json() == 1


@pytest.mark.parametrize("workers", [1, 2])
async def test_of_requests_at_once_each_sets_its_tags_and_leaves_those_of_the_others(root: Path, workers: int) -> None:
    path = make_conversation(root)
    settings = Settings(store=root, instance="one-server", workers=workers)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(serving(settings)) for _ in range(workers)]
        asked = [
            clients[number % workers].post(TAG, json={"ids": IDS[:1], "set": {f"k{number}": "v"}})
            for number in range(8)
        ]
        answers = await asyncio.gather(*asked)
    assert [answer.json()["done"] for answer in answers] == [1] * 8
    wanted = {f"k{number}": "v" for number in range(8)}
    for name in ("meta.json", "base_state.json"):
        assert json.loads((path / name).read_text())["tags"] == wanted


COUNT = "/api/conversations/count?archived=any"
ALL: list[dict[str, Any]] = [
    {},
    {"archived": "any"},
    {"archived": "false"},
    {"status": [], "tag": []},
    {"q": None, "workspace": None, "created_at__gte": None, "owned": None},
]


@pytest.mark.parametrize(
    ("route", "more"),
    [(DELETE, {}), (DELETE, {"permanent": True}), (TAG, {"set": {"a": "b"}}), (ARCHIVE, {})],
    ids=["delete", "delete for good", "tag", "archive"],
)
async def test_a_filter_that_means_all_needs_all(root: Path, route: str, more: dict[str, Any]) -> None:
    for number in (1, 2):
        make_conversation(root, number)
    async with serving(Settings(store=root)) as client:
        for request in [{"filter": asked, "dry_run": dry_run, **more} for asked in ALL for dry_run in (True, False)]:
            for given in ({}, {"all": False}, {"expected_count": 2}):
                refused = await client.post(route, json=request | given)
                assert (refused.status_code, refused.json()["code"]) == (422, "invalid_parameter")
                assert 'add "all": true to confirm' in refused.json()["detail"][0]["msg"]
        assert (await client.get(COUNT)).json() == 2
        assert (await client.get("/api/conversations/count?tag=a")).json() == 0
        for request in [{"filter": asked, "dry_run": True} for asked in ALL] + [{"filter": {}, "dry_run": False}]:
            answer = (await client.post(route, json=request | more | {"all": True, "expected_count": 2})).json()
            assert (answer["matched"], answer["done"]) == (2, 0 if request["dry_run"] else 2)


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({"filter": {"q": ""}}, "a blank text excludes no conversation"),
        ({"filter": {"q": " \t", "status": "finished"}}, "a blank text excludes no conversation"),
        ({"filter": {"title__contains": ""}}, "a blank text excludes no conversation"),
        ({"filter": {"title__contains": "\u0301"}, "all": True}, "a blank text excludes no conversation"),
        ({"filter": {"titel": "x"}}, "Extra inputs are not permitted"),
        ({"filter": {"status": "finished"}, "dryrun": True}, "Extra inputs are not permitted"),
        ({"filter": {"status": "finished"}, "all": True}, 'omit "all"'),
        ({"filter": {"archived": "true"}, "all": True}, 'omit "all"'),
        ({"ids": IDS[:1], "all": True}, 'omit "all"'),
        ({"all": True}, 'give ids or a filter; {"filter": {}, "all": true} means all'),
        ({"filter": None, "all": True}, "give ids or a filter"),
        ({"filter": {}, "all": "yes"}, "Input should be a valid boolean"),
        ({"filter": {}, "all": True, "expected_count": True}, "Input should be a valid integer"),
        ({"filter": {}, "all": True, "expected_count": -1}, "greater than or equal to 0"),
    ],
    ids=str,
)
async def test_a_request_that_could_mean_more_than_it_says_is_refused(
    root: Path, request_: dict[str, Any], told: str
) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        for route in (DELETE, TAG, ARCHIVE):
            refused = await client.post(route, json=request_)
            assert (refused.status_code, refused.json()["code"]) == (422, "invalid_parameter")
            assert told in refused.json()["detail"][0]["msg"]
        assert (await client.get("/api/conversations/count")).json() == 1


async def test_restoring_needs_ids_or_a_time(root: Path) -> None:
    make_conversation(root)
    wrongs: list[dict[str, Any]] = [{}, {"filter": {}}, {"ids": None}, {"deleted_at__gte": None}, {"all": True}]
    async with serving(Settings(store=root)) as client:
        assert (await client.delete(f"/api/conversations/{IDS[0]}")).status_code == 200
        for wrong in wrongs:
            assert (await client.post("/api/conversations/bulk/restore", json=wrong)).status_code == 422
        assert (await client.get("/api/trash")).json()["total"] == 1


async def test_a_filter_that_matches_more_than_a_page_needs_the_count(root: Path) -> None:
    for number in range(1, 102):
        make_conversation(root, number, events=0)
    every = {"filter": {"event_count__lt": 1}}
    async with serving(Settings(store=root)) as client:
        for route, more in ((DELETE, {}), (TAG, {"set": {"a": "b"}}), (ARCHIVE, {})):
            for given in ({}, {"expected_count": None}, {"expected_count": 100}):
                refused = await client.post(route, json=every | more | given)
                assert (refused.status_code, refused.json()["code"]) == (409, "unexpected_count")
                assert "101 conversations" in refused.json()["detail"]
                assert refused.json()["detail"].endswith('then send "expected_count": 101')
        assert (await client.get("/api/conversations/count")).json() == 101
        assert (await client.get("/api/conversations/count?tag=a")).json() == 0
        dry = (await client.post(DELETE, json=every | {"dry_run": True})).json()
        assert (dry["matched"], len(dry["items"]), dry["done"]) == (101, 101, 0)
        make_conversation(root, 102, events=0)
        assert (await client.post("/api/index/sync")).json()["added"] == 1
        counted = every | {"expected_count": dry["matched"]}
        late = await client.post(DELETE, json=counted)
        assert (late.status_code, "102 conversations match now" in late.json()["detail"]) == (409, True)
        assert (await client.post(DELETE, json=counted | {"dry_run": True})).status_code == 409
        assert (await client.get("/api/trash")).json()["total"] == 0
        done = (await client.post(DELETE, json=every | {"expected_count": 102})).json()
        assert (done["matched"], done["done"]) == (102, 102)


async def test_up_to_a_page_needs_no_count_but_a_given_one_must_be_right(root: Path) -> None:
    for number in range(1, 102):
        make_conversation(root, number, events=1 if number == 101 else 0)
    async with serving(Settings(store=root)) as client:
        for asked in ({"filter": {"event_count__gte": 1}}, {"ids": IDS[:2]}):
            refused = await client.post(DELETE, json=asked | {"expected_count": 7})
            assert (refused.status_code, refused.json()["code"]) == (409, "unexpected_count")
        assert (await client.get("/api/conversations/count")).json() == 101
        assert (await client.post(DELETE, json={"filter": {"event_count__lt": 1}})).json()["done"] == 100
        assert (await client.get("/api/conversations/count")).json() == 1


async def test_ids_of_more_than_a_page_need_no_count(root: Path) -> None:
    ids = [make_id(number) for number in range(1, 102)]
    for number in range(1, 102):
        make_conversation(root, number, events=0)
    async with serving(Settings(store=root)) as client:
        assert (await client.post(DELETE, json={"ids": [*ids, ids[0]], "expected_count": 101})).json()["done"] == 101


async def test_removing_for_good_by_a_filter_always_needs_the_count(root: Path) -> None:
    make_conversation(root)
    asked = {"filter": {"title__contains": "a title"}, "permanent": True}
    none = {"filter": {"status": "stuck"}, "permanent": True}
    async with serving(Settings(store=root)) as client:
        [found] = (await client.post(DELETE, json=asked | {"dry_run": True})).json()["items"]
        refused = await client.post(DELETE, json=asked)
        assert (refused.status_code, refused.json()["code"]) == (409, "unexpected_count")
        assert "to remove conversations permanently" in refused.json()["detail"]
        assert (await client.get(f"/api/conversations/{found['id']}")).status_code == 200
        assert (await client.post(DELETE, json=none)).json()["matched"] == 0
        assert (await client.post(DELETE, json=asked | {"expected_count": 1})).json()["done"] == 1
        assert (await client.get("/api/trash")).json()["total"] == 0


async def test_the_api_describes_what_a_large_request_needs(root: Path) -> None:
    async with serving(Settings(store=root)) as client:
        document = (await client.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    assert "more than 100 conversations" in schemas["BulkDelete"]["properties"]["expected_count"]["description"]
    assert "must be true" in schemas["BulkTag"]["properties"]["all"]["description"]
    for route in (DELETE, TAG, ARCHIVE):
        assert "unexpected_count" in document["paths"][route]["post"]["responses"]["409"]["description"]


async def test_many_are_tagged_deleted_and_restored_by_id_and_by_filter(root: Path) -> None:
    for number in (1, 2, 3):
        make_conversation(root, number, state={"execution_status": "error" if number == 3 else "finished"})
    ids = [make_id(1), make_id(2), make_id(9)]
    async with serving(Settings(store=root)) as client:
        dry = (await client.post("/api/conversations/bulk/delete", json={"ids": ids, "dry_run": True})).json()
        assert [item["code"] for item in dry["items"]] == [None, None, "conversation_not_found"]
        assert (dry["done"], dry["dry_run"]) == (0, True)
        archived = {"ids": ids[:2], "archived": True}
        assert (await client.post("/api/conversations/bulk/archive", json=archived | {"dry_run": True})).json()[
            "done"
        ] == 0
        assert (await client.post("/api/conversations/bulk/archive", json=archived)).json()["done"] == 2
        every = (await client.get("/api/conversations/count?archived=true")).json()
        back = {"filter": {"archived": "true"}, "archived": False}
        assert (every, (await client.post("/api/conversations/bulk/archive", json=back)).json()["done"]) == (2, 2)
        assert (await client.get("/api/conversations/count?archived=true")).json() == 0
        tagged = (await client.post("/api/conversations/bulk/tag", json={"ids": ids, "set": {"a": "b"}})).json()
        assert (tagged["done"], tagged["items"][2]["code"]) == (2, "conversation_not_found")
        assert (await client.get(f"/api/conversations/{IDS[0]}")).json()["tags"] == {"a": "b"}
        chosen = {"filter": {"status": "finished"}}
        assert (await client.post("/api/conversations/bulk/delete", json=chosen)).json()["done"] == 2
        assert (await client.get("/api/conversations/count")).json() == 1
        since = {"deleted_at__gte": "2026-01-01T00:00:00Z"}
        dry = (await client.post("/api/conversations/bulk/restore", json={"ids": ids[1:], "dry_run": True})).json()
        assert [item["code"] for item in dry["items"]] == [None, "not_in_trash"]
        assert (await client.get("/api/conversations/count")).json() == 1
        assert (await client.post("/api/conversations/bulk/restore", json=since)).json()["done"] == 2
        assert (await client.get("/api/conversations/count")).json() == 3
        wrongs: list[dict[str, Any]] = [{}, {"ids": ids, "filter": {}}, {"filter": {"nothing": 1}}, {"ids": ["x"]}]
        for wrong in wrongs:
            assert (await client.post("/api/conversations/bulk/delete", json=wrong)).status_code == 422


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("by", ["ids", "time"])
async def test_restoring_many_lists_the_trash_once(
    root: Path, monkeypatch: pytest.MonkeyPatch, by: str, *, dry_run: bool
) -> None:
    for number in range(1, 13):
        move_to_trash(root, make_conversation(root, number).name, time.time_ns() // 1000)
    listed: list[int] = []
    list_all = layout.list_all

    def count_listings(fd: int) -> list[str]:
        listed.append(fd)
        return list_all(fd)

    monkeypatch.setattr(layout, "list_all", count_listings)
    chosen: dict[str, Any] = {"ids": [make_id(number) for number in range(1, 20)]}
    if by == "time":
        chosen = {"deleted_at__gte": "1970-01-01T00:00:00Z"}
    async with serving(Settings(store=root, trash_days=0)) as client:
        listed.clear()
        asked = chosen | {"dry_run": dry_run}
        answer = (await client.post("/api/conversations/bulk/restore", json=asked)).json()
    assert sum("code" not in item or item["code"] is None for item in answer["items"]) == 12
    assert len(listed) == 1


async def test_many_are_pinned_and_exported_at_once(root: Path) -> None:
    for number in (1, 2, 3):
        make_conversation(root, number)
    async with serving(Settings(store=root)) as client:
        answer = (await client.post("/api/conversations/bulk/pin", json={"ids": [*IDS[:2], IDS[5]]})).json()
        assert (answer["matched"], answer["done"], answer["items"][2]["code"]) == (3, 2, "conversation_not_found")
        rows = (await client.get("/api/conversations/search?view=row")).json()["items"]
        assert {row["id"][-1] for row in rows if row["pinned"]} == {"1", "2"}
        export = "/api/conversations/bulk/export"
        zipped = await client.post(export, json={"ids": IDS[:2]})
        with ZipFile(BytesIO(zipped.content)) as archive:
            names = archive.namelist()
        assert all(any(one in name for name in names) for one in IDS[:2])
        assert not [name for name in names if IDS[2] in name]
        every = await client.post(export, json={"filter": {}, "all": True, "format": "jsonl"})
        assert all(one in every.text for one in IDS[:3])
        wrong = [{"ids": [IDS[5]]}, {"ids": IDS[:1], "dry_run": True}]
        assert [(await client.post(export, json=one)).status_code for one in wrong] == [404, 422]


async def test_conversations_and_events_are_erased_over_http(root: Path) -> None:
    said = "a sentence that is to vanish from the disk"
    for number in (1, 2, 3):
        make_conversation(root, number, events=[make_message_event(0, f"{said} {number}")])
    async with serving(Settings(store=root)) as client:
        event = make_message_event(0)["id"]
        one = await client.post(f"/api/conversations/{make_id(3)}/events/{event}/erase")
        assert (one.status_code, one.json()["still_in"]) == (200, [])
        erase = "/api/conversations/bulk/erase"
        ids = {"ids": [make_id(1), make_id(2)]}
        planned = (await client.post(erase, json=ids | {"dry_run": True})).json()
        assert (planned["dry_run"], len(planned["ids"])) == (True, 2)
        done = (await client.post(erase, json=ids)).json()
        assert (done["ids"], done["still_in"], done["log_empty"]) == (planned["ids"], [], True)
        assert (await client.get("/api/conversations/count")).json() == 1
        assert (await client.post(erase, json=ids)).status_code == 404
        wanted = {"filter": {}, "all": True}
        assert (await client.post(erase, json=wanted)).json()["code"] == "unexpected_count"
    assert not [path for path in root.rglob("*") if path.is_file() and said.encode() in path.read_bytes()]
