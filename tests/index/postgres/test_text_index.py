"""The words of a text as a tsvector."""

from __future__ import annotations

import pytest

pytest.importorskip("psycopg")

from app.index.postgres.text_index import as_tsvector
from app.model.text.tokenizer import parse_question


def test_a_tsvector_has_each_word_with_its_places() -> None:
    assert as_tsvector("The parser, the HTTPServer.") == (
        "'the':1,3 'parser':2 'httpserver':4 '\ue000':5 'http':6 'server':7"
    )
    assert as_tsvector("it's a \\ and 'x'") == "'it':1 's':2 'a':3 'and':4 'x':5"
    assert as_tsvector("") == ""


def test_places_beyond_the_limits_of_postgresql_are_left_out() -> None:
    assert as_tsvector("a " * 300) == "'a':" + ",".join(map(str, range(1, 257)))
    many = as_tsvector(" ".join(f"w{number}" for number in range(20_000)))
    assert many.count("'w19999':16383") == 1


def test_a_question_has_a_twin_for_postgresql() -> None:
    asked = parse_question('fix OR mend "the parser" -slow parseHTTP')
    assert asked.tsquery_in() == (
        "(('fix') | ('mend')) & (('the' <-> 'parser')) & (('parsehttp':* | 'parse' <-> 'http':*)) & !('slow')"
    )
    assert parse_question("  ").tsquery_in() is None
