"""Text of users and tools as safe HTML: Markdown, code, terminal output, diffs. No other module makes HTML from text.

Every function escapes its input, so a template may insert the result without escaping it again.
"""

from __future__ import annotations

import difflib
import re
from functools import cache
from html import escape
from itertools import pairwise
from typing import NamedTuple

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound
from rich.color import ColorType
from rich.text import Text

MARKDOWN_MAX = 100_000
"""The maximum length in characters of a message that is rendered as Markdown. A longer one is shown as plain text."""
TERMINAL_LINES = 200
"""The number of lines, from the end of an output, that are shown at first."""
DIFF_LINES_MAX = 4000
"""The maximum number of lines that are compared. The time of difflib grows with the square of this number."""

_TAGS = {
    *("p", "br", "hr", "strong", "em", "s", "del", "code", "pre", "blockquote", "ul", "ol", "li", "a"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "code": {"class"}}
_OSC = re.compile(r"\x1b\].*?(?:\x07|\x1b\\)", re.DOTALL)
_OTHER_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-LN-Za-ln-z]|[()][A-Z0-9]|[=>78])")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]")
_COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")


@cache
def _markdown() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
    parser.add_render_rule("image", _render_image)
    return parser


def _render_image(_self: object, tokens: list, index: int, _options: object, _env: object) -> str:  # type: ignore[type-arg]
    """Render an image as a link: nothing is loaded from elsewhere."""
    token = tokens[index]
    source = str(token.attrGet("src") or "")
    label = token.content or source
    return f'<a href="{escape(source)}">{escape(label)}</a>'


def markdown(text: str) -> Markup:
    """Return Markdown as HTML with few kinds of elements. A very long text is only escaped."""
    if len(text) > MARKDOWN_MAX:
        return Markup("<pre>{}</pre>").format(text)
    html = nh3.clean(
        _markdown().render(text),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(html)  # noqa: S704 - nh3 cleaned it


def snippet(html: str) -> Markup:
    """Return the snippet of a hit as HTML. The search has already escaped it, except for its own marks."""
    return Markup(html)  # noqa: S704


def terminal(text: str) -> Markup:
    """Return the output of a terminal with its colours as classes; other escape sequences are left out."""
    text = _CONTROL.sub("", _OTHER_ESCAPES.sub("", _OSC.sub("", text))).replace("\r\n", "\n")
    parsed = Text.from_ansi(text)
    plain = parsed.plain
    cuts = sorted({0, len(plain), *(span.start for span in parsed.spans), *(span.end for span in parsed.spans)})
    parts: list[str] = []
    for start, end in pairwise(cuts):
        names = [name for span in parsed.spans if span.start <= start < span.end for name in _classes(span.style)]
        piece = escape(plain[start:end])
        parts.append(f'<span class="{" ".join(sorted(set(names)))}">{piece}</span>' if names else piece)
    return Markup("".join(parts))  # noqa: S704 - each piece is escaped


def _classes(style: object) -> list[str]:
    """Return the classes of a style of rich: bold, dim, and the colour of the text."""
    names = [name for name in ("bold", "italic", "underline") if getattr(style, name, None)]
    color = getattr(style, "color", None)
    if color is not None and color.type in (ColorType.STANDARD, ColorType.EIGHT_BIT) and (color.number or 0) < 16:
        names.append(f"t-{_COLOURS[(color.number or 0) % 8]}")
    return names


class Tail(NamedTuple):
    """The last lines of a text, their number, and the number of all lines."""

    text: str
    shown: int
    total: int


def tail(text: str, lines: int = TERMINAL_LINES) -> Tail:
    """Return the last lines of a text."""
    all_lines = text.rstrip("\n").split("\n")
    return Tail("\n".join(all_lines[-lines:]), min(lines, len(all_lines)), len(all_lines))


@cache
def _formatter() -> HtmlFormatter[str]:
    return HtmlFormatter(nowrap=True, classprefix="h-")


def code_lines(text: str, path: str) -> list[Markup]:
    """Return the lines of a file with syntax colours as classes. The ending of its name decides its language."""
    try:
        lexer = get_lexer_for_filename(path, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return [Markup(escape(line)) for line in text.split("\n")]  # noqa: S704
    return [Markup(line) for line in highlight(text, lexer, _formatter()).split("\n")]  # noqa: S704 - pygments escapes


class DiffLine(NamedTuple):
    """A line of a diff: its sign (" ", "+", "-", or "@" for a gap), its numbers, and its HTML."""

    sign: str
    old: int | None
    new: int | None
    html: Markup


class Diff(NamedTuple):
    """A diff with the numbers of added and removed lines."""

    lines: list[DiffLine]
    added: int
    removed: int


def count_changes(old: str, new: str) -> tuple[int, int]:
    """Return (lines added, lines removed) between two texts."""
    matcher = _matcher(old.splitlines(), new.splitlines())
    added = removed = 0
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag != "equal":
            removed += i2 - i1
            added += j2 - j1
    return added, removed


def _matcher(old: list[str], new: list[str]) -> difflib.SequenceMatcher[str]:
    return difflib.SequenceMatcher(None, old[:DIFF_LINES_MAX], new[:DIFF_LINES_MAX], autojunk=True)


def diff(old: str, new: str, path: str, context: int = 3) -> Diff:
    """Return the difference of two texts of a file, with `context` lines around each change."""
    old_html, new_html = code_lines(old, path), code_lines(new, path)
    lines: list[DiffLine] = []
    added = removed = 0
    for group in _matcher(old.split("\n"), new.split("\n")).get_grouped_opcodes(context):
        lines.append(DiffLine("@", None, None, Markup("line {}").format(group[0][3] + 1)))
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                lines += [DiffLine(" ", i + 1, j1 + i - i1 + 1, old_html[i]) for i in range(i1, i2)]
                continue
            lines += [DiffLine("-", i + 1, None, old_html[i]) for i in range(i1, i2)]
            lines += [DiffLine("+", None, j + 1, new_html[j]) for j in range(j1, j2)]
            removed += i2 - i1
            added += j2 - j1
    return Diff(lines, added, removed)
