"""Text of users and tools as safe HTML: Markdown, code, terminal output, diffs. No other module makes HTML from text.

Every function escapes its input, so a template may insert the result without escaping it again.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from functools import cache
from html import escape
from itertools import islice, pairwise, zip_longest
from typing import NamedTuple

import nh3
import orjson
from markdown_it import MarkdownIt
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound
from rich.ansi import AnsiDecoder
from rich.color import ColorType
from rich.text import Span

from ..model.text.snippet import find_spans
from ..model.text.tokenizer import parse_question

MARKDOWN_MAX = 20_000
"""The maximum length in characters of a message that is rendered as Markdown. A longer one is shown as plain text. The
parser's time grows with the square of the length of odd texts: 100,000 opening brackets take 10 s."""
TERMINAL_LINES = 200
TERMINAL_CHARACTERS = 100_000
_LINES_CHARACTERS = 1 << 16
"""The number of lines and of characters, from the end of an output, that are shown at first."""
CODE_MAX = 50_000
CODE_LINE_MAX = 2000
"""The maximum length of a file, and of its longest line, for syntax colours. In longer ones, an open string may take
minutes."""
DIFF_LINES_MAX = 2000
"""The maximum number of lines between the first and the last change that are compared, and of lines of a diff that are
shown. The time of difflib grows with the square of this number. Longer stretches count as replaced."""
DIFF_MAX = 1_000_000
"""The number of characters of a file, from its beginning, that are compared."""

TREE_NODES_MAX = 1000
TREE_TEXT_MAX = 2000
"""The maximum number of values in a tree of JSON, and of characters of one of them."""
_TREE_DEPTH_MAX = 12
_TREE_OPEN_MAX = 8
"""A branch at the top of a tree is open if it has at most this many members."""

_TAGS = {
    *("p", "br", "hr", "strong", "em", "s", "del", "code", "pre", "blockquote", "ul", "ol", "li", "a"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "code": {"class"}}
_match_inline = re.compile(
    r"(`{3,})|`((?:[^`<>]|<mark>[^`<>]*</mark>)+)`|\*\*((?:[^*`<>\s]|<mark>[^*`<>]*</mark>|[ ](?!\*))+)\*\*"
)
_match_plain = re.compile(
    r"[A-Za-z](?:[A-Za-z0-9 ,.:;?!/()='\"@%$-]*[A-Za-z0-9,.:;?!/()='\"@%$-])?", re.ASCII
).fullmatch
"""Matches a line of text in which Markdown and HTML have no meaning. The parser takes 30 us for it."""
_OSC = re.compile(r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_OTHER_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-LN-Za-ln-z]|[()][A-Z0-9]|[=>78])")
_NO_COLOUR = re.compile(r"\x1b(?!\[[0-9;]*m)")
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
        return Markup('<pre tabindex="0">{}</pre>').format(text)
    if _match_plain(text):
        return Markup(f"<p>{text}</p>\n")  # noqa: S704 - no character of it has a meaning in HTML
    html = nh3.clean(
        _markdown().render(text),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(html.replace("<pre>", '<pre tabindex="0">'))  # noqa: S704 - nh3 cleaned it, and escaped other texts


def snippet(html: str) -> Markup:
    """Return the snippet of a hit as HTML, as `inline` does. The search has escaped it, except for its marks."""
    return Markup(_match_inline.sub(_mark_up, html))  # noqa: S704


def _mark_up(found: re.Match[str]) -> str:
    fence, code, strong = found.groups()
    if fence:  # around lines of code, which are one line here
        return ""
    return f"<strong>{strong}</strong>" if code is None else f"<code>{code}</code>"


def inline(text: str) -> Markup:
    """Return a line of text as HTML with `code` and **strong** parts. Other Markdown stays as it is."""
    return snippet(str(escape(text)))


def marked(text: str, question: str) -> Markup:
    """Return a text with the words of a search inside <mark>."""
    parts, end = [], 0
    for span in find_spans(text, parse_question(question).terms):
        parts.append(f"{escape(text[end : span.start])}<mark>{escape(text[span.start : span.end])}</mark>")
        end = span.end
    return Markup("".join([*parts, escape(text[end:])]))  # noqa: S704 - each piece is escaped


def terminal(text: str) -> Markup:
    """Return the output of a terminal with its colours as classes; other escape sequences are left out."""
    text = _NO_COLOUR.sub("", _CONTROL.sub("", _OTHER_ESCAPES.sub("", _OSC.sub("", text)))).replace("\r\n", "\n")
    decoder = AnsiDecoder()
    return Markup("\n".join(_coloured_lines(lines, decoder) for lines in _cut(text)))  # noqa: S704 - each is escaped


def _cut(text: str) -> Iterator[str]:
    """Yield some thousand lines at a time. The objects of millions of short lines would take 150 bytes each."""
    begin = 0
    while (end := text.find("\n", begin + _LINES_CHARACTERS)) >= 0:
        yield text[begin:end]
        begin = end + 1
    yield text[begin:]


def _coloured_lines(lines: str, decoder: AnsiDecoder) -> str:
    if not decoder.style and "\x1b" not in lines and "\r" not in lines:
        return escape(lines)
    return "\n".join(_coloured(line, decoder) for line in lines.split("\n"))


def _coloured(line: str, decoder: AnsiDecoder) -> str:
    """Return a line of a terminal as HTML. The decoder knows the colour in which the line before it ended."""
    if not decoder.style and "\x1b" not in line and "\r" not in line:
        return escape(line)
    parsed = decoder.decode_line(line)
    plain = parsed.plain
    begun: dict[int, list[Span]] = {}
    for span in parsed.spans:
        begun.setdefault(span.start, []).append(span)
    cuts = sorted({0, len(plain), *begun, *(span.end for span in parsed.spans)})
    active: list[Span] = []
    parts: list[str] = []
    for start, end in pairwise(cuts):
        active = [span for span in active if span.end > start] + begun.get(start, [])
        names = {name for span in active for name in _classes(span.style)}
        piece = escape(plain[start:end])
        parts.append(f'<span class="{" ".join(sorted(names))}">{piece}</span>' if names else piece)
    return "".join(parts)


def json_tree(value: object) -> Markup:
    """Return a value of JSON as a tree whose branches fold. What is beyond `TREE_NODES_MAX` values is left out."""
    parts: list[str] = []
    left = _add_branch(parts, value, TREE_NODES_MAX, 0)
    if left <= 0:
        parts.append('<p class="dim">the rest is left out; the raw event has all</p>')
    return Markup("".join(parts))  # noqa: S704 - each piece is escaped


def _add_branch(parts: list[str], value: object, left: int, depth: int) -> int:
    """Add the members of an object or a list, and return how many values may follow."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    parts.append('<ul class="json">')
    for name, one in members:
        left -= 1
        if left <= 0:
            break
        label = f"<b>{escape(str(name)[:TREE_TEXT_MAX])}</b>"
        if isinstance(one, dict | list) and one and depth < _TREE_DEPTH_MAX:
            open_ = " open" if depth == 0 and len(one) <= _TREE_OPEN_MAX else ""
            size = f"{len(one):,} {'field' if isinstance(one, dict) else 'item'}{'' if len(one) == 1 else 's'}"
            parts.append(f'<li><details{open_}><summary>{label} <span class="dim">{size}</span></summary>')
            left = _add_branch(parts, one, left, depth + 1)
            parts.append("</details></li>")
        else:
            parts.append(f"<li>{label} {_leaf(one)}</li>")
    parts.append("</ul>")
    return left


def _leaf(value: object) -> str:
    if isinstance(value, dict | list) and value:
        return '<span class="dim">… deeper than is shown; the raw event has all</span>'
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    cut = text if len(text) <= TREE_TEXT_MAX else f"{text[:TREE_TEXT_MAX]}… ({len(text):,} characters)"
    kind = "" if isinstance(value, str) else ' class="dim"'
    return f"<span{kind}>{escape(cut)}</span>"


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


def tail(text: str, lines: int = TERMINAL_LINES, characters: int = TERMINAL_CHARACTERS) -> Tail:
    """Return the last lines of a text. If they are too long, the first is cut, and not counted as shown."""
    text = text.rstrip("\n")
    kept = text[-characters:]
    parts = kept.rsplit("\n", lines)
    is_whole = len(parts) > lines or len(kept) == len(text) or text[-characters - 1] == "\n"
    last = parts[-lines:]
    return Tail("\n".join(last), len(last) - (not is_whole), text.count("\n") + 1)


@cache
def _formatter() -> HtmlFormatter[str]:
    return HtmlFormatter(nowrap=True, classprefix="h-")


def _find_lexer(path: str) -> Lexer | None:
    try:
        return get_lexer_for_filename(path, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


class CodeLines:
    """The lines of a file, with syntax colours as classes by the ending of its name unless it is very long."""

    def __init__(self, text: str, path: str) -> None:
        self.texts = text.split("\n")
        plain = len(text) > CODE_MAX or max(map(len, self.texts)) > CODE_LINE_MAX
        lexer = None if plain else _find_lexer(path)
        self._coloured = None if lexer is None else highlight(text, lexer, _formatter()).split("\n")

    def __getitem__(self, place: int) -> Markup:
        """Return a line as HTML."""
        line = escape(self.texts[place]) if self._coloured is None else self._coloured[place]
        return Markup(line)  # noqa: S704 - pygments escapes


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
    """Return (lines added, lines removed) between two texts, of which the beginnings are compared if they are long."""
    added = removed = 0
    old, new = old[:DIFF_MAX], new[:DIFF_MAX]
    for tag, i1, i2, j1, j2 in _compare(old.splitlines(), new.splitlines(), 0):
        if tag != "equal":
            removed += i2 - i1
            added += j2 - j1
    return added, removed


_Change = tuple[str, int, int, int, int]


def _compare(old: list[str], new: list[str], context: int) -> list[_Change]:
    """Return the changes between two texts, as difflib's opcodes, with `context` equal lines before and after them."""
    shortest = min(len(old), len(new))
    same = next((place for place in range(shortest) if old[place] != new[place]), shortest)
    ends = next((n for n in range(shortest - same) if old[-1 - n] != new[-1 - n]), shortest - same)
    if same == len(old) == len(new):
        return []
    before, after = min(same, context), min(ends, context)
    between = (same, len(old) - ends, same, len(new) - ends)
    middle: list[_Change] = [("replace", *between)]
    if max(between[1], between[3]) - same <= DIFF_LINES_MAX:
        found = difflib.SequenceMatcher(None, old[same : between[1]], new[same : between[3]]).get_opcodes()
        middle = [(tag, i1 + same, i2 + same, j1 + same, j2 + same) for tag, i1, i2, j1, j2 in found]
    lead: list[_Change] = [("equal", same - before, same, same - before, same)] if before else []
    end: list[_Change] = [("equal", between[1], between[1] + after, between[3], between[3] + after)] if after else []
    return [*lead, *middle, *end]


def _hunks(changes: list[_Change], context: int) -> Iterator[list[_Change]]:
    """Yield the changes in groups, without the middle of more than twice `context` equal lines between two."""
    group: list[_Change] = []
    for tag, i1, i2, j1, j2 in changes:
        if tag == "equal" and i2 - i1 > 2 * context:
            yield [*group, (tag, i1, i1 + context, j1, j1 + context)]
            group = [(tag, i2 - context, i2, j2 - context, j2)]
        else:
            group.append((tag, i1, i2, j1, j2))
    if group:
        yield group


def _rows(olds: range, news: range, *, equal: bool) -> list[tuple[str, range, range]]:
    """Return (sign, places of old lines, places of new lines) of the rows that show a change."""
    none = range(0)
    return [(" ", olds, news)] if equal else [("-", olds, none), ("+", none, news)]


def diff(old: str, new: str, path: str, context: int = 3) -> Diff:
    """Return the difference of two texts of a file, with `context` lines around each change."""
    old_lines, new_lines = CodeLines(old[:DIFF_MAX], path), CodeLines(new[:DIFF_MAX], path)
    lines: list[DiffLine] = []
    total = added = removed = 0
    for group in _hunks(_compare(old_lines.texts, new_lines.texts, context), context):
        if total < DIFF_LINES_MAX:
            lines.append(DiffLine("@", None, None, Markup("line {}").format(group[0][1] + 1)))
        total += 1
        for tag, i1, i2, j1, j2 in group:
            equal = tag == "equal"
            for sign, olds, news in _rows(range(i1, i2), range(j1, j2), equal=equal):
                for i, j in islice(zip_longest(olds, news), max(DIFF_LINES_MAX - total, 0)):
                    html = new_lines[j] if i is None else old_lines[i]
                    lines.append(DiffLine(sign, None if i is None else i + 1, None if j is None else j + 1, html))
                total += max(len(olds), len(news))
            removed += 0 if equal else i2 - i1
            added += 0 if equal else j2 - j1
    if total > DIFF_LINES_MAX:
        left = Markup("{:,} more lines; the raw event has all").format(total - DIFF_LINES_MAX)
        lines.append(DiffLine("@", None, None, left))
    if max(len(old), len(new)) > DIFF_MAX:
        begun = Markup("only the first {:,} characters are compared; the raw event has all").format(DIFF_MAX)
        lines.append(DiffLine("@", None, None, begun))
    return Diff(lines, added, removed)
