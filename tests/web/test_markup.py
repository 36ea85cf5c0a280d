"""Text of users and tools as HTML."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.markup import code_lines, diff, markdown, tail, terminal
from tests.web.elements import elements

HARMLESS = {
    "p", "br", "hr", "strong", "em", "s", "del", "code", "pre", "blockquote", "ul", "ol", "li", "a", "h1", "h2", "h3",
    "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td", "span",
}  # fmt: skip
HOSTILE = st.lists(
    st.sampled_from(
        ["<script>alert(1)</script>", "<img src=x onerror=a()>", "[a](javascript:b)", "![x](http://e/x.png)", "**", "`",
         "\x1b[31m", "\x1b]8;;http://e\x07", "\x1b[0m", "<svg onload=a()>", "&lt;", "\x00", "\n", "| a |", "> ", "](",
         "\r", "<a href=javascript:a()>", "data:text/html,x", "\u202e", "plain"]
    ),
    max_size=12,
).map("".join)  # fmt: skip


def tags(html: str) -> set[str]:
    return {tag for tag, _ in elements(html)}


@given(HOSTILE)
def test_hostile_text_makes_no_element_outside_the_list(text: str) -> None:
    for html in (markdown(text), terminal(text), *code_lines(text, "a.py")):
        assert tags(html) <= HARMLESS
        for _, attributes in elements(html):
            assert attributes.keys() <= {"href", "title", "rel", "class", "start"}
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


def test_the_last_lines_of_an_output() -> None:
    assert tail("1\n2\n3\n", 2) == ("2\n3", 2, 3)


@pytest.mark.parametrize("path", ["a.py", "a.unknown", ""])
def test_code_has_as_many_lines_as_its_text(path: str) -> None:
    text = 'def a():\n    """x\n    y"""\n\n'
    assert len(code_lines(text, path)) == len(text.split("\n"))


def test_a_diff_counts_its_lines() -> None:
    found = diff("a\nb\n", "a\nc\nd\n", "a.txt")
    assert (found.added, found.removed) == (2, 1)
    assert [line.sign for line in found.lines] == ["@", " ", "-", "+", "+", " "]
