"""Snippets: where the words stand in a text, and the piece around them."""

from __future__ import annotations

import pytest

from app.model.text.snippet import SNIPPET_MAX, make_snippet
from app.model.text.tokenizer import parse_question


@pytest.mark.parametrize(
    ("question", "text", "snippet"),
    [
        ("parser", "Fix the Parser", "Fix the <mark>Parser</mark>"),
        ("ecole", "À l\u2019École <b>", "À l\u2019<mark>École</mark> &lt;b&gt;"),
        ('"the parser"', "the parser, the\nparser", "<mark>the parser</mark>, <mark>the parser</mark>"),
        ("nothing", "some text", "some text"),
        ("art", "party", "party"),
        ("C++", "in C, then in C++.", "in C, then in <mark>C++</mark>."),
        ('"c#" .net', "(C#) for .NET", "(<mark>C#</mark>) for <mark>.NET</mark>"),
    ],
)
def test_words_are_marked_and_all_else_is_escaped(question: str, text: str, snippet: str) -> None:
    assert make_snippet(text, parse_question(question).terms) == snippet


def test_of_a_long_text_the_piece_with_the_most_words_is_shown() -> None:
    text = f"one {'x ' * 500} one two {'y ' * 500}"
    snippet = make_snippet(text, parse_question("one two").terms)
    assert "<mark>one</mark> <mark>two</mark>" in snippet
    assert snippet[0] == snippet[-1] == "…"
    assert len(snippet) < SNIPPET_MAX + 40
