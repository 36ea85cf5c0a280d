"""Searching: for each of these questions exactly the events and titles that a plain scan of the files finds."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest

from app import ConversationStore, Settings
from app.model.hits import Hit
from tests.builders import make_conversation, make_event, make_id
from tests.plain import Matches, Place, has, holds, scan

ODD = [
    "The lease renewal; leases are renewed by the HTTPServerError handler in src/app/main.py (v1.58.0).",
    "renewal of the lease, not the lease renewal",
    'AND OR NOT NEAR("a b", 3) text: * ^ - + {x} col:y "quoted" \u2018curly\u2019',
    "Crème brûlée, Ångström, naïve façade; İstanbul Straße",
    "de\u0301compose\u0301 and \uff26\uff35\uff2c\uff2c width, \ufb01ne ligature",
    "한국어 검색은 띄어쓰기와 무관하게",
    "データベースの移行を確認する",
    "数据库连接超时\uff0c请重试。数据API调用失败",
    "userID UserId user_id user-id XMLHttpRequest getURLPath utf8Decoder sha256 parseJSON2",
    "C:\\Users\\dev\\notes.txt and https://example.com/a/b?c=d#e and a@b.example",
    "nul \0 inside, tab\tand\nnewline, zero\u200bwidth, soft\u00adhyphen",
    "🎉 released 🚀 to production",
    "x" * 100 + " " + "abc " * 3000 + "theend",
    "<script>alert('lease')</script> & <b>bold</b>",
    "int64 python3.11 Python 3 k8s 3d 1,000 3.14",
    "Привет, мир! Ёлка. Κόσμε",
    "हिन्दी में खोज करें",
    "cafe and café and CAFÉ",
]

NOTHING: Matches = lambda _text: False  # noqa: E731 - reads as the others do


def without(wanted: Matches, *unwanted: Matches) -> Matches:
    return lambda text: wanted(text) and not any(one(text) for one in unwanted)


def either(*any_of: Matches) -> Matches:
    return lambda text: any(one(text) for one in any_of)


CASES: list[tuple[str, Matches]] = [
    # words
    ("lease ", has("lease")),
    ("LEASE ", has("lease")),
    ("lease renewal ", has("lease", "renewal")),
    ("renewal lease ", has("lease", "renewal")),
    ("leases ", has("leases")),
    ("ENOSPC ", has("enospc")),
    ("unheardof ", NOTHING),
    ("lease unheardof ", NOTHING),
    ("follow-up ", has(r"follow\W+up")),
    ("2.1 ", has(r"2\W+1")),
    ("#48 ", has("48")),
    ("48: Two ", has("48", "two")),
    # phrases
    ('"lease renewal"', has(r"lease\W+renewal")),
    ('"renewal of the lease"', has(r"renewal of the lease")),
    ('"renewal lease"', NOTHING),
    ('"clock step" workers ', has(r"clock step", "workers")),
    ('"clock step', has(r"clock step")),
    ('"two workers" "clock step"', has("two workers", "clock step")),
    ('"the end" "" "', has("the end")),
    # exclusion
    ("lease -renewal ", without(has("lease"), has("renewal"))),
    ('lease -"lease renewal"', without(has("lease"), has(r"lease\W+renewal"))),
    ("lease -auth -billing ", without(has("lease"), has("auth"), has("billing"))),
    ("-lease", NOTHING),
    ("--lease ", has("lease")),
    ("lease - renewal ", has("lease", "renewal")),
    ("non-root ", has(r"non\W+root")),
    # OR
    ("ENOSPC OR UnicodeDecodeError ", either(has("enospc"), has("unicodedecodeerror"))),
    ("lease auth OR billing ", lambda text: has("lease")(text) and either(has("auth"), has("billing"))(text)),
    ("auth OR billing OR ledger ", either(has("auth"), has("billing"), has("ledger"))),
    ("OR ", has("or")),
    ("lease OR ", has("lease", "or")),
    ("OR lease ", has("or", "lease")),
    ("lease or ", has("lease", "or")),
    # the last word may be only begun
    ("renew", has(r"renew\w*")),
    ("lease ren", has("lease", r"ren[^\W_]*")),
    ("ren lease ", NOTHING),
    ("le", has("le")),
    ("conversationT", NOTHING),
    ("conversationTit", either(holds("conversationtit"), holds("conversation_tit"))),
    ("rename_conv", either(holds("rename_conv"), holds("renameconv"))),
    ("HTTPServ", either(holds("httpserv"), holds("http_serv"))),
    # identifiers, whole and by their parts
    ("rename_conversation_title ", either(holds("rename_conversation_title"), holds("renameConversationTitle"))),
    ("renameConversationTitle ", either(holds("rename_conversation_title"), holds("renameConversationTitle"))),
    ("renameconversationtitle ", holds("renameConversationTitle")),
    ("HTTPServerError ", either(holds("http_server_error"), holds("HTTPServerError"))),
    ("httpservererror ", holds("HTTPServerError")),
    ("ServerError ", either(holds("server_error"), holds("ServerError"))),
    ("decode ", either(has("decode"), holds("UnicodeDecode"))),
    ("get_bind ", holds("get_bind")),
    ("get_bind() ", holds("get_bind")),
    ("node_modules ", holds("node_modules")),
    ("modules ", holds("modules")),
    ("src/app/main.py ", holds("src/app/main.py")),
    ("app/main.py ", holds("app/main.py")),
    ("main.py ", holds("main.py")),
    ("v1.58.0 ", holds("v1.58.0")),
    ("1.58.0 ", holds("1.58.0")),
    ("1.58 ", holds("1.58")),
    ("UserId ", holds("userid user_id")),
    ("XMLHttpRequest ", holds("xmlhttprequest")),
    ("http request ", either(holds("xmlhttprequest"), has("http", "request"))),
    ("url path ", holds("geturlpath")),
    ("utf8 ", either(holds("utf8"), has(r"utf\W8"))),
    ("sha256 ", holds("sha256")),
    ("python 3 ", holds("python3")),
    ("SQLAlchemy ", has("sqlalchemy")),
    ("notes.txt ", holds("notes.txt")),
    ("example.com/a/b ", holds("example.com/a/b")),
    # languages
    ("creme brulee ", holds("creme brulee")),
    ("CRÈME ", holds("creme")),
    ("angstrom istanbul strasse ", holds("angstrom")),
    ("café ", has("cafe")),
    ("decompose ", holds("decompose")),
    ("full fine ", holds("full width")),
    ("à l'api ", has("a", "l", "api")),
    ("dépendre ", has("dependre")),
    ("数据", holds("数据")),
    ("据库", holds("据库")),
    ("快速排序", holds("快速排序")),
    ("模块写", holds("模块写")),
    ("数据 失败", holds("数据", "失败")),
    ("API调用", holds("api调用")),
    ("ログイン", holds("ログイン")),
    ("ベース", holds("ベース")),
    ("カ", holds("カ")),
    ("無限リダイレクト", holds("無限リダイレクト")),
    ("검색", holds("검색")),
    ("어 검", holds("어", "검")),
    (normalize("NFD", "한국어 검색"), holds("한국어", "검색")),
    (normalize("NFD", "データベース"), holds("データベース")),
    ("привет мир ", holds("привет")),
    ("елка ", holds("елка")),
    ("κοσμε ", holds("κοσμε")),
    ("हिन्दी ", holds("हिन्दी")),
    ("🎉", holds("🎉")),
    ("released 🚀", holds("🚀")),
    # punctuation, keywords, odd and long ones
    ("", NOTHING),
    ("   ", NOTHING),
    ("!!! ??? ...", NOTHING),
    ('"', NOTHING),
    ("NEAR(a b) ", has(r"near\W+a", "b")),
    ("AND NOT ", has("and", "not")),
    ("text:lease ", has(r"text\W+lease")),
    ("col:y ", has("col:y")),
    ("message_fts ", NOTHING),
    ("{x} ", has("x")),
    ("* ^ + lease* ", has("lease")),
    ("'; DROP TABLE message; --", NOTHING),
    ("nul\0 inside ", holds("inside, tab")),
    ("\0", NOTHING),
    ("zerowidth softhyphen ", holds("newline, zero")),
    ("\u2018curly\u2019 ", has("curly")),
    ("<b>bold</b> ", holds("<b>bold</b>")),
    ("\ud800 lease ", has("lease")),
    ("x" * 100 + " ", holds("x" * 100)),
    ("x" * 10_000, holds("x" * 100)),
    ("lease " * 2000, has("lease")),
    ('"' + "lease renewal " * 800, NOTHING),
    ("-" * 10_000, NOTHING),
    ("theend ", has("theend")),
]


@pytest.fixture(scope="module")
def store_path(
    pristine_corpus: Path, empty_index: Path, tmp_path_factory: pytest.TempPathFactory, _shared_index: str
) -> Path:
    """The corpus with odd texts beside it, and their index."""
    root = tmp_path_factory.mktemp("search") / "conversations"
    shutil.copytree(pristine_corpus, root)
    events = [
        make_event(number, llm_message={"role": "user", "content": [{"type": "text", "text": text}]})
        for number, text in enumerate(ODD)
    ]
    make_conversation(root, 1, events=events, meta={"title": "Odd texts"})
    (root / ".convstore").mkdir()
    shutil.copyfile(empty_index, root / ".convstore" / "index.db")
    asyncio.run(_with(root, ConversationStore.sync))
    return root


async def _with(root: Path, work: Callable[[ConversationStore], Awaitable[Any]]) -> Any:
    async with ConversationStore.open(Settings(store=root)) as store:
        return await work(store)


async def find_all(store: ConversationStore, question: str, limit: int = 100) -> list[Hit]:
    """Return the hits of all pages."""
    hits: list[Hit] = []
    page_id = None
    while True:
        page = await store.search_messages(question, page_id=page_id, limit=limit)
        hits += page.items
        page_id = page.next_page_id
        if page_id is None:
            return hits


def place_of(hit: Hit) -> Place:
    return hit.conversation_id, -1 if hit.seq is None else hit.seq


@pytest.fixture(scope="module")
def said(store_path: Path) -> dict[Place, str]:
    return scan(store_path)


@pytest.mark.parametrize(("question", "matches"), CASES, ids=[repr(case[0][:30]) for case in CASES])
def test_the_events_that_a_plain_scan_finds(
    store_path: Path, said: dict[Place, str], question: str, matches: Matches
) -> None:
    hits = asyncio.run(_with(store_path, lambda store: find_all(store, question)))
    found = [place_of(hit) for hit in hits]
    assert sorted(found) == sorted(place for place, text in said.items() if matches(text))
    for hit in hits:
        assert "<mark>" in hit.snippet


def test_the_table_finds_something_in_most_cases(said: dict[Place, str]) -> None:
    assert len(CASES) >= 60
    assert sum(any(map(matches, said.values())) for _, matches in CASES) > 80
    assert make_id(1) in {uuid for uuid, _ in said}
