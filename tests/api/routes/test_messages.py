"""Full-text search over HTTP: hits, pages, filters, relevance, how far the text is known, and time limits."""

from __future__ import annotations

import random
import time
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import Settings
from app.index import search
from app.index.sqlite import read_connection
from tests.api.clients import walk_pages
from tests.builders import make_conversation, make_event, make_id, make_message_event
from tests.conftest import serving
from tests.plain import plain

SEARCH = "/api/messages/search"
LIST = "/api/conversations/search"
COUNT = "/api/conversations/count"


async def get(client: httpx.AsyncClient, path: str, **parameters: object) -> Any:
    answer = await client.get(path, params={name: str(value) for name, value in parameters.items()})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def relevant(client: httpx.AsyncClient, **parameters: object) -> Any:
    return await get(client, LIST, sort_order="RELEVANCE", **parameters)


async def test_a_hit_says_where_it_is_and_shows_what_was_found(root: Path) -> None:
    events = [
        make_message_event(0, "nothing of the kind"),
        make_message_event(1, "the <b>lease</b> & its renewal", source="agent"),
    ]
    make_conversation(root, 1, events=events, meta={"title": "On locks"})
    async with serving(Settings(store=root)) as client:
        found = await get(client, SEARCH, q="lease")
        titled = await get(client, SEARCH, q="locks")
    [hit] = found.pop("items")
    assert found == {
        "next_page_id": None,
        "truncated": False,
        "searched": ["titles", "said"],
        "text_indexed": {"conversations": 1, "total": 1},
    }
    score = hit.pop("score")
    assert score > 0
    assert hit == {
        "conversation_id": "00000000-0000-4000-8000-000000000001",
        "title": "On locks",
        "preview": "nothing of the kind",
        "parent_conversation_id": None,
        "event_id": events[1]["id"],
        "seq": 1,
        "source": "agent",
        "timestamp": "2026-10-01T12:00:01Z",
        "snippet": "the &lt;b&gt;<mark>lease</mark>&lt;/b&gt; &amp; its renewal",
    }
    [title] = titled["items"]
    assert (title["source"], title["event_id"], title["seq"]) == ("title", None, None)
    assert title["snippet"] == "On <mark>locks</mark>"


def make_tool_events() -> list[dict[str, Any]]:
    """Return a message, a command with a thought, its failure, and a command that went well."""
    thought = [{"type": "text", "text": "I migrate"}]
    command = {"kind": "TerminalAction", "command": "alembic upgrade head"}
    failed = {"content": [{"type": "text", "text": "IntegrityError: unheard"}], "exit_code": 1}
    well = {"content": [{"type": "text", "text": "applied unheard"}], "exit_code": 0}
    return [
        make_message_event(0, "please migrate with alembic"),
        make_event(1, kind="ActionEvent", source="agent", tool_name="terminal", thought=thought, action=command),
        make_event(2, kind="ObservationEvent", source="environment", observation=failed),
        make_event(3, kind="ObservationEvent", source="environment", observation=well),
    ]


async def test_a_search_looks_where_it_is_asked_to(root: Path) -> None:
    make_conversation(root, 1, events=make_tool_events(), meta={"title": "The alembic change"})
    make_conversation(root, 2, events=[make_message_event(0, "other")])
    async with serving(Settings(store=root)) as client:
        found = {
            (word, place): [hit["seq"] for hit in (await get(client, SEARCH, q=f"{word} ", **{"in": place}))["items"]]
            for word in ("alembic", "migrate", "unheard")
            for place in ("said", "tools", "all")
        }
        both = [hit["seq"] for hit in (await get(client, SEARCH, q="migrate upgrade ", **{"in": "all"}))["items"]]
        counts = [await get(client, COUNT, q="upgrade ", **{"in": place}) for place in ("said", "tools", "all")]
        listed = await get(client, LIST, q="upgrade ", hits=1, **{"in": "tools"})
        ranked = await relevant(client, q="unheard ", **{"in": "all"})
        here = await get(client, SEARCH, q="alembic ", conversation_id=make_id(1), order="seq", **{"in": "all"})
        default = await get(client, SEARCH, q="alembic ", conversation_id=make_id(1), order="seq")
        searched = (await get(client, SEARCH, q="nowhere", **{"in": "tools"}))["searched"]
        wrong = await client.get(SEARCH, params={"q": "a", "in": "files"})
    assert found == {
        ("alembic", "said"): [None, 0],
        ("alembic", "tools"): [1],
        ("alembic", "all"): [None, 0, 1],
        ("migrate", "said"): [1, 0],
        ("migrate", "tools"): [],
        ("migrate", "all"): [1, 0],
        ("unheard", "said"): [],
        ("unheard", "tools"): [2],
        ("unheard", "all"): [2],
    }
    assert (both, counts) == ([1], [0, 1, 1])
    assert [hit["snippet"] for hit in listed["items"][0]["hits"]] == ["alembic <mark>upgrade</mark> head"]
    assert [item["id"] for item in ranked["items"]] == ["00000000-0000-4000-8000-000000000001"]
    assert [hit["seq"] for hit in here["items"]] == [0, 1]
    assert [hit["seq"] for hit in default["items"]] == [0]
    assert (searched, wrong.status_code) == (["tools"], 422)


async def test_a_page_token_is_valid_only_for_the_texts_that_were_searched(root: Path) -> None:
    make_conversation(root, 1, events=make_tool_events())
    async with serving(Settings(store=root)) as client:
        token = (await get(client, SEARCH, q="alembic ", limit=1, **{"in": "all"}))["next_page_id"]
        other = await client.get(SEARCH, params={"q": "alembic ", "limit": "1", "in": "said", "page_id": token})
    assert other.status_code == 400


async def test_pages_give_every_hit_once_the_best_first(corpus: Path) -> None:
    async with serving(Settings(store=corpus)) as client:
        everything = (await get(client, SEARCH, q="the", limit=100))["items"]
        assert len(everything) > 50
        paged = [hit async for page in walk_pages(client, SEARCH, q="the", limit=7) for hit in page["items"]]
    assert paged[: len(everything)] == everything
    assert [hit["score"] for hit in paged] == sorted((hit["score"] for hit in paged), reverse=True)
    places = [(hit["conversation_id"], hit["seq"]) for hit in paged]
    assert len(set(places)) == len(places)


async def test_a_page_goes_on_where_the_one_before_ended_although_more_is_said_meanwhile(root: Path) -> None:
    make_conversation(root, 1, events=[make_message_event(number, f"lease number {number}") for number in range(9)])
    async with serving(Settings(store=root)) as client:
        first = await get(client, SEARCH, q="lease", limit=4)
        event = make_message_event(90, "lease lease lease", timestamp="2026-12-01T00:00:00")
        batch = await client.post(f"/api/conversations/{make_id(1)}/events/batch", json={"events": [event]})
        assert batch.status_code < 300, batch.text
        rest = await get(client, SEARCH, q="lease", limit=100, page_id=first["next_page_id"])
        anew = await get(client, SEARCH, q="lease", limit=1)
    assert sorted(hit["seq"] for hit in first["items"] + rest["items"]) == list(range(9))
    assert anew["items"][0]["seq"] == 9


async def test_titles_count_more_and_what_is_recent_a_little_more(root: Path) -> None:
    old, new = "2026-01-01T00:00:00", "2026-10-01T00:00:00"
    make_conversation(
        root, 1, events=[make_message_event(0, "a lease of ours", timestamp=old)], meta={"title": "Something"}
    )
    make_conversation(
        root, 2, events=[make_message_event(0, "a lease of ours", timestamp=new)], meta={"title": "Another"}
    )
    make_conversation(root, 3, events=[make_message_event(0, "hello")], meta={"title": "A lease of ours"})
    make_conversation(
        root, 4, events=[make_message_event(0, "lease, lease, lease, lease", timestamp=old)], meta={"title": "Much"}
    )
    async with serving(Settings(store=root)) as client:
        hits = (await get(client, SEARCH, q="lease"))["items"]
        listed = (await relevant(client, q="lease"))["items"]
        by_creation = (await get(client, LIST, q="lease"))["items"]
    assert [hit["title"] for hit in hits] == ["A lease of ours", "Much", "Another", "Something"]
    assert [item["title"] for item in listed] == ["A lease of ours", "Much", "Another", "Something"]
    assert {item["title"] for item in by_creation} == {"A lease of ours", "Much", "Another", "Something"}


async def test_list_count_and_messages_agree_under_any_filter(corpus: Path) -> None:
    async with serving(Settings(store=corpus)) as client:
        for asked in ({}, {"status": "finished"}, {"title__contains": "lease"}, {"event_count__gte": 9}):
            for question in ("the", "lease OR 快速", "code -lease", "nothing-like-that", "!!!", "mobile"):
                hits: list[dict[str, Any]] = []
                page: dict[str, Any] = await get(client, SEARCH, q=question, limit=100, **asked)
                hits += page["items"]
                while page["next_page_id"]:
                    page = await get(client, SEARCH, q=question, limit=100, page_id=page["next_page_id"], **asked)
                    hits += page["items"]
                listed = (await get(client, LIST, q=question, **asked))["items"]
                ranked = (await relevant(client, q=question, **asked))["items"]
                count = await get(client, COUNT, q=question, **asked)
                ids = {hit["conversation_id"] for hit in hits}
                assert {item["id"] for item in listed} == {item["id"] for item in ranked} == ids
                assert count == len(listed) == len(ranked)
                best = list(dict.fromkeys(hit["conversation_id"] for hit in hits))
                assert len(ranked) == len(best)


async def test_relevance_is_paged_and_without_a_question_it_is_the_last_update(corpus: Path) -> None:
    async with serving(Settings(store=corpus)) as client:
        everything = (await relevant(client, q="code"))["items"]
        first = await relevant(client, q="code", limit=5)
        rest = await relevant(client, q="code", page_id=first["next_page_id"])
        without = await relevant(client, limit=5)
        blank = await relevant(client, limit=5, q=" ")
        updated = await get(client, LIST, sort_order="UPDATED_AT_DESC", limit=5)
        other = {"q": "other", "sort_order": "RELEVANCE", "page_id": first["next_page_id"]}
        wrong = await client.get(LIST, params=other)
    assert len(everything) > 10
    assert first["items"] + rest["items"] == everything
    assert without["items"] == blank["items"] == updated["items"]
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_page_token")


async def test_more_matches_than_are_ranked_are_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "RANKED", 3)
    events = [make_message_event(n, "lease " * (9 - n), timestamp=f"2026-0{n + 1}-01T00:00:00") for n in range(5)]
    make_conversation(root, 1, events=events)
    async with serving(Settings(store=root)) as client:
        found = await get(client, SEARCH, q="lease")
        listed = await relevant(client, q="lease")
        few = await get(client, SEARCH, q="message OR title")
    assert (sorted(hit["seq"] for hit in found["items"]), found["truncated"]) == ([2, 3, 4], True)
    assert listed["truncated"]
    assert not few["truncated"]


async def test_longer_forms_of_a_word_are_left_out_where_too_many_texts_have_the_word(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "RANKED", 3)
    times = [f"2026-0{n + 1}-01T00:00:00" for n in range(8)]
    texts = ["lease", "leases", "lease", "leasing", "lease", "leased", "lease", "leased"]
    make_conversation(
        root, 1, events=[make_message_event(n, text, timestamp=times[n]) for n, text in enumerate(texts)], meta={}
    )
    async with serving(Settings(store=root)) as client:
        page = await get(client, SEARCH, q="lease", limit=2)
        more = await get(client, SEARCH, q="lease", limit=2, page_id=page["next_page_id"])
        few = await get(client, SEARCH, q="leas", limit=2)
        listed = await relevant(client, q="lease")
    assert (sorted(hit["seq"] for hit in page["items"] + more["items"]), page["truncated"]) == ([2, 4, 6], True)
    assert more["next_page_id"] is None
    assert (sorted(hit["seq"] for hit in few["items"]), few["truncated"], listed["truncated"]) == ([6, 7], True, True)


async def test_pages_of_the_newest_matches_are_whole_while_more_is_said(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "RANKED", 9)
    for number in (1, 2, 3):
        make_conversation(
            root, number, events=[make_message_event(n, "lease " * (n + 1)) for n in range(4)], meta={"title": "x"}
        )
    async with serving(Settings(store=root)) as client:
        expected = [hit["event_id"] for hit in (await get(client, SEARCH, q="lease"))["items"]]
        shown: list[str] = []
        page: dict[str, Any] = await get(client, SEARCH, q="lease", limit=2)
        while True:
            shown += [hit["event_id"] for hit in page["items"]]
            assert page["truncated"]
            if page["next_page_id"] is None:
                break
            event = make_message_event(9 + len(shown), "lease")
            written = await client.post(f"/api/conversations/{make_id(1)}/events/batch", json={"events": [event]})
            assert written.status_code == 201, written.text
            page = await get(client, SEARCH, q="lease", limit=2, page_id=page["next_page_id"])
    assert len(expected) == 9
    assert [one for one in shown if one in expected] == expected


async def test_answers_say_of_how_many_conversations_the_text_is_known(root: Path) -> None:
    make_conversation(root, 1)
    make_conversation(root, 2)
    async with serving(Settings(store=root)) as client:
        for path in (SEARCH, LIST, COUNT):
            answer = await client.get(path, params={"q": "message"})
            assert answer.headers["X-Text-Indexed"] == "2/2"
        listed = await get(client, LIST, q="message")
        assert listed["text_indexed"] == {"conversations": 2, "total": 2}
        assert "X-Text-Indexed" not in (await client.get(COUNT)).headers


@pytest.mark.parametrize("path", [SEARCH, LIST, f"{LIST}?sort_order=RELEVANCE", COUNT])
async def test_a_search_that_takes_too_long_ends_with_a_clear_error(
    corpus: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_connection, "_OPERATIONS", 10)
    async with serving(Settings(store=corpus, search_timeout_s=1e-6)) as client:
        answer = await client.get(f"{path}{'&' if '?' in path else '?'}q=the+OR+code")
        other = await client.get(LIST)
    assert (answer.status_code, answer.json()["code"], other.status_code) == (422, "query_too_slow", 200)


PHRASES = " OR ".join(f'"{"a " * 30}b{number}"' for number in range(31))
"""Phrases of the commonest word there is, which no text holds."""


async def test_looking_for_many_phrases_in_long_texts_is_quick(root: Path) -> None:
    make_conversation(root, 1, events=[make_message_event(number, "xylo " + "a" * 32_000) for number in range(50)])
    async with serving(Settings(store=root, search_timeout_s=20)) as client:
        began = time.process_time()
        found = await get(client, SEARCH, q=f"xylo OR {PHRASES}", limit=50)
    assert time.process_time() - began < 10
    assert {hit["snippet"][:17] for hit in found["items"]} == {"<mark>xylo</mark>"}


async def test_ranking_is_stopped_as_well(corpus: Path) -> None:
    async with serving(Settings(store=corpus, search_timeout_s=1e-6)) as client:
        answer = await client.get(LIST, params={"q": "the OR code", "sort_order": "RELEVANCE"})
    assert (answer.status_code, answer.json()["code"]) == (422, "query_too_slow")


async def test_so_are_snippets(root: Path) -> None:
    text = "a" * 31_000 + "".join(f" {'a ' * 30}b{number}" for number in range(12))
    make_conversation(root, 1, events=[make_message_event(number, text) for number in range(20)])
    async with serving(Settings(store=root)) as client:
        answer = await client.get(SEARCH, params={"q": PHRASES})
    assert (answer.status_code, answer.json()["code"]) == (422, "query_too_slow")


@pytest.mark.parametrize("token", ["x", "WzEsIiIsMSwiMSIsMV0"])
async def test_a_page_token_that_was_not_given_out_for_it_is_refused(corpus: Path, token: str) -> None:
    async with serving(Settings(store=corpus)) as client:
        answer = await client.get(SEARCH, params={"q": "the", "page_id": token})
        missing = await client.get(SEARCH)
        misspelt = await client.get(SEARCH, params={"q": "the", "titel__contains": "x"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_page_token")
    assert (missing.status_code, misspelt.status_code) == (422, 422)
    assert misspelt.json()["detail"][0]["loc"] == ["query", "titel__contains"]


PIECES = [
    *("'\"-*():^+\\%_{}\0 \t\n1&"),
    *("OR", "AND", "NOT", "NEAR", "--", "/*", "  ", "message_fts", "rowid", "text:", "<mark>", "&lt;", "x" * 70),
    *("lease", "the", "a", "快速", "ログ", "한", "é", "🎉", "\u0301", "\u202e", "\ue000", "\u00ad", "ﷺ", "İ"),
    *("src/app/main.py", "v1.58.0", "HTTPServer"),
]


async def ask_at_random(client: httpx.AsyncClient, number: int, seed: int) -> float:
    """Ask so many made-up questions; return the longest time. Any answer but 200 fails."""
    chance = random.Random(seed)  # noqa: S311 - made-up data
    longest = 0.0
    for _ in range(number):
        question = "".join(chance.choice(PIECES) + chance.choice(["", " "]) for _ in range(chance.randrange(1, 12)))
        path = chance.choice([SEARCH, SEARCH, LIST, COUNT])
        order = {"sort_order": chance.choice(["RELEVANCE", "TITLE"])} if path == LIST else {}
        for _ in range(2):  # what takes long only once was kept waiting by other programs
            began = time.perf_counter()
            answer = await client.get(path, params={"q": question, **order})
            took = time.perf_counter() - began
            if took < 1:
                break
        longest = max(longest, took)
        assert answer.status_code == 200, (question, answer.text)
        if path == SEARCH:
            for hit in answer.json()["items"]:
                bare = hit["snippet"].replace("<mark>", "").replace("</mark>", "")
                assert "<" not in bare
                assert plain(unescape(bare))
    return longest


async def test_hits_in_one_conversation_come_in_the_order_of_its_log(root: Path) -> None:
    said = ["a lease", "nothing", "lease lease lease", "the lease", "lease"]
    make_conversation(root, 1, events=[make_message_event(seq, text) for seq, text in enumerate(said)])
    (root / make_id(1) / "convstore.json").write_text('{"archived": true}')
    make_conversation(root, 2, events=[make_message_event(0, "another lease")])
    within = {"q": "lease", "conversation_id": make_id(1), "order": "seq"}
    async with serving(Settings(store=root)) as client:
        whole = await get(client, SEARCH, **within)
        assert [hit["seq"] for hit in whole["items"]] == [0, 2, 3, 4]
        pages = [page async for page in walk_pages(client, SEARCH, limit=3, **within)]
        assert [[hit["seq"] for hit in page["items"]] for page in pages] == [[0, 2, 3], [4]]
        assert {page["total"] for page in (whole, *pages)} == {4}
        best = await get(client, SEARCH, q="lease", conversation_id=make_id(1))
        assert sorted(hit["seq"] for hit in best["items"]) == [0, 2, 3, 4]
        assert "total" not in best
        assert (await get(client, SEARCH, q="-lease", conversation_id=make_id(1), order="seq"))["items"] == []
        wrong = [
            {"q": "lease", "order": "seq"},
            within | {"status": "idle"},
            within | {"page_id": best["items"][0]["event_id"]},
            within | {"conversation_id": make_id(9)},
        ]
        assert [(await client.get(SEARCH, params=one)).status_code for one in wrong] == [422, 422, 400, 404]


async def test_rows_of_a_search_have_their_best_hits(root: Path) -> None:
    said = ["a lease of all the words that one could say", "lease", "none", "lease lease"]
    make_conversation(root, 1, events=[make_message_event(seq, text) for seq, text in enumerate(said)])
    make_conversation(root, 2, events=[make_message_event(0, "no")], meta={"title": "Lease"})
    make_conversation(root, 3, events=[make_message_event(0, "another lease")])
    async with serving(Settings(store=root)) as client:
        for order in ("RELEVANCE", "CREATED_AT"):
            page = await get(client, LIST, q="lease", hits=2, view="row", sort_order=order)
            found = {row["id"][-1]: row["hits"] for row in page["items"]}
            assert {number: len(hits) for number, hits in found.items()} == {"1": 2, "2": 0, "3": 1}
            [hit] = found["3"]
            assert hit == {
                "event_id": make_message_event(0, "")["id"],
                "seq": 0,
                "source": "user",
                "timestamp": "2026-10-01T12:00:00Z",
                "score": hit["score"],
                "snippet": "another <mark>lease</mark>",
            }
            assert found["1"][0]["score"] >= found["1"][1]["score"]
        plain_page = await get(client, LIST, hits=2)
        assert all("hits" not in row for row in plain_page["items"])
