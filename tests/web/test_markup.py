"""Text of users and tools as HTML."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.web import markup
from app.web.markup import (
    DIFF_LINES_MAX,
    DIFF_MAX,
    TREE_NODES_MAX,
    TREE_TEXT_MAX,
    CodeLines,
    count_changes,
    diff,
    inline,
    json_tree,
    markdown,
    snippet,
    tail,
    terminal,
)
from tests.web.elements import elements

HARMLESS = {
    "p", "br", "hr", "strong", "em", "s", "del", "code", "pre", "blockquote", "ul", "ol", "li", "a", "h1", "h2", "h3",
    "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td", "span", "b", "details", "summary",
}  # fmt: skip
HOSTILE = st.lists(
    st.sampled_from(
        ["<script>alert(1)</script>", "<img src=x onerror=a()>", "[a](javascript:b)", "![x](http://e/x.png)", "**", "`",
         "\x1b[31m", "\x1b]8;;http://e\x07", "\x1b[0m", "<svg onload=a()>", "&lt;", "\x00", "\n", "| a |", "> ", "](",
         "\r", "<a href=javascript:a()>", "data:text/html,x", "\u202e", "plain"]
    ),
    max_size=12,
).map("".join)  # fmt: skip


def lines(text: str, path: str) -> list[str]:
    found = CodeLines(text, path)
    return [found[place] for place in range(len(found.texts))]


def tags(html: str) -> set[str]:
    return {tag for tag, _ in elements(html)}


@settings(deadline=None)
@given(HOSTILE)
def test_hostile_text_makes_no_element_outside_the_list(text: str) -> None:
    for html in (markdown(text), terminal(text), *lines(text, "a.py"), json_tree({text: [text]})):
        assert tags(html) <= HARMLESS
        for _, attributes in elements(html):
            assert attributes.keys() <= {"href", "title", "rel", "class", "start", "open", "tabindex"}
            assert attributes.get("href", "http://").startswith(("http://", "https://", "mailto:", "#"))


def test_markdown_keeps_what_people_write() -> None:
    html = markdown("# A\n\n- one\n- `two`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n[link](https://example.org)")
    assert {"h1", "ul", "li", "code", "table", "td", "a"} <= tags(html)
    assert 'rel="noopener noreferrer nofollow"' in html


def test_a_remote_image_is_a_link() -> None:
    assert markdown("![a shot](https://example.org/a.png)").startswith('<p><a href="https://example.org/a.png"')


def test_colours_of_a_terminal_are_classes() -> None:
    assert terminal("\x1b[1;31mFAILED\x1b[0m ok") == '<span class="bold t-red">FAILED</span> ok'
    assert terminal("a\x1b]0;title\x07b\x1b[2Kc") == "abc"


def test_a_colour_goes_on_over_very_many_lines() -> None:
    lines = ["line"] * 50_000
    assert terminal("\n".join(["\x1b[31m", *lines, "\x1b[0m", *lines])) == "\n".join(
        ["", *['<span class="t-red">line</span>'] * 50_000, "", *lines]
    )


def test_a_long_output_of_short_lines_takes_little_memory() -> None:
    text = "line\n" * 200_000
    tracemalloc.start()
    try:
        assert terminal(text) == text
        assert tracemalloc.get_traced_memory()[1] < 5 * len(text)
    finally:
        tracemalloc.stop()


def test_a_colour_lasts_to_the_next_line_and_a_line_may_be_written_over() -> None:
    assert terminal("\x1b[31ma\nb\x1b[0m\nc") == '<span class="t-red">a</span>\n<span class="t-red">b</span>\nc'
    assert terminal("10 %\r20 %\nplain <b>") == "20 %\nplain &lt;b&gt;"


def test_of_a_very_long_file_the_beginning_is_compared() -> None:
    old = "line\n" * (DIFF_MAX // 5)
    found = diff(old + "more", f"{old}others", "a.txt")
    assert (found.added, found.removed) == count_changes(old + "more", f"{old}others") == (0, 0)
    assert [line.html for line in found.lines] == [
        "only the first 1,000,000 characters are compared; the raw event has all"
    ]


def test_the_last_lines_of_an_output() -> None:
    assert tail("1\n2\n3\n", 2) == ("2\n3", 2, 3)


@pytest.mark.parametrize("path", ["a.py", "a.unknown", ""])
def test_code_has_as_many_lines_as_its_text(path: str) -> None:
    text = 'def a():\n    """x\n    y"""\n\n'
    assert len(lines(text, path)) == len(text.split("\n"))


def test_a_diff_counts_its_lines() -> None:
    found = diff("a\nb\n", "a\nc\nd\n", "a.txt")
    assert (found.added, found.removed) == (2, 1)
    assert [line.sign for line in found.lines] == ["@", " ", "-", "+", "+", " "]


@pytest.mark.parametrize(
    "make",
    [
        lambda: terminal("".join(f"\x1b[{31 + number % 7}mx" for number in range(10_000))),
        lambda: terminal("\x1b]" * 100_000),
        lambda: markdown("![" * 49_000),
        lambda: markdown("a|b\n-|-\n" + "x\n" * 40_000),
        lambda: diff("'" * 100_000, "(" * 100_000, "a.py"),
        lambda: diff("\n".join("'" * 900 for _ in range(100)), "", "a.js"),
        lambda: count_changes(
            "\n".join(f"{n % 190}" for n in range(4000)), "\n".join(f"{n % 191}" for n in range(4000))
        ),
    ],
    ids=["colours", "torn escapes", "brackets", "a table", "an open string", "open strings", "repeated lines"],
)
def test_what_is_odd_and_long_takes_no_long_time(make: Callable[[], object]) -> None:
    began = time.thread_time()
    make()
    assert time.thread_time() - began < 2


def test_a_cut_line_of_an_output_is_not_counted_as_shown() -> None:
    assert tail("12345", 2, characters=3) == ("345", 0, 1)
    assert tail("1\n2345\n67", 3, characters=5) == ("45\n67", 1, 3)


def test_a_change_behind_many_lines_is_shown() -> None:
    before = "\n".join(str(number) for number in range(9000))
    found = diff(before, before.replace("8000", "x"), "a.txt")
    assert (found.added, found.removed) == count_changes(before, before.replace("8000", "x")) == (1, 1)
    assert [(line.sign, line.old, line.new) for line in found.lines][4:6] == [("-", 8001, None), ("+", None, 8001)]


def test_a_long_rewrite_is_counted_whole_and_shown_in_part() -> None:
    found = diff("a\n" * 9000, "b\n" * 9000, "a.txt")
    assert (found.added, found.removed) == (9000, 9000)
    assert len(found.lines) == DIFF_LINES_MAX + 1
    assert found.lines[-1].html == "16,002 more lines; the raw event has all"


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=20), st.lists(st.sampled_from("abc"), max_size=20))
def test_a_diff_with_all_context_has_both_texts(old: list[str], new: list[str]) -> None:
    lines = diff("\n".join(old), "\n".join(new), "", context=50).lines
    if old != new and (old or new):
        assert [str(line.html) for line in lines if line.sign in " -"] == (old or [""])
        assert [str(line.html) for line in lines if line.sign in " +"] == (new or [""])


def test_json_is_a_tree_whose_branches_fold() -> None:
    html = json_tree({"name": "a", "size": 1, "inner": {"deep": [True, None]}})
    assert html == (
        '<ul class="json"><li><b>name</b> <span>a</span></li><li><b>size</b> <span class="dim">1</span></li>'
        '<li><details open><summary><b>inner</b> <span class="dim">1 field</span></summary><ul class="json">'
        '<li><details><summary><b>deep</b> <span class="dim">2 items</span></summary><ul class="json">'
        '<li><b>0</b> <span class="dim">true</span></li><li><b>1</b> <span class="dim">null</span></li>'
        "</ul></details></li></ul></details></li></ul>"
    )


def test_a_tree_of_json_is_bounded() -> None:
    assert json_tree(list(range(2 * TREE_NODES_MAX))).count("<li>") < TREE_NODES_MAX
    assert "the rest is left out" in json_tree(list(range(2 * TREE_NODES_MAX)))
    assert len(json_tree({"a": "b" * 10 * TREE_TEXT_MAX})) < 2 * TREE_TEXT_MAX
    deep: object = "end"
    for _ in range(500):
        deep = [deep]
    assert json_tree(deep).count("<details") < 20


def test_a_line_has_code_and_strong_parts_and_no_other_markdown() -> None:
    assert inline("run `a <b>` and **c d**") == "run <code>a &lt;b&gt;</code> and <strong>c d</strong>"
    assert inline("2 ** 3 ** 4, `**a**`") == "2 ** 3 ** 4, <code>**a**</code>"
    assert inline("one ` only, <i>") == "one ` only, &lt;i&gt;"
    assert inline("so: ```sql SELECT 1; ``` or `a`") == "so: sql SELECT 1;  or <code>a</code>"
    assert snippet("in `<mark>x</mark>y` now") == "in <code><mark>x</mark>y</code> now"
    assert snippet("`<mark>x` y</mark>") == "`<mark>x` y</mark>"


@settings(deadline=None)
@given(
    st.text("aZ0 .,:;?!/()='\"@%$-", max_size=20)
    | st.sampled_from(["www.a.b c", "http://a.b/c", "a --- b", "1. a", "a@b.c"])
)
def test_a_plain_line_is_the_paragraph_that_the_parser_makes_of_it(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        quick = markdown(text)
        patch.setattr(markup, "_match_plain", lambda _: None)
        assert quick == markdown(text)


def test_a_plain_line_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markup, "_markdown", lambda: pytest.fail("it is parsed"))
    assert markdown("I run the tests of parser.py, then look.") == "<p>I run the tests of parser.py, then look.</p>\n"
