"""Compiled statements."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from app.index.dialect import compiled, insert
from app.index.tables import conversation, deletion


def test_constants_stand_apart_from_what_each_call_gives() -> None:
    sql = compiled(
        select(conversation.c.id).where(conversation.c.uuid == bindparam("uuid"), conversation.c.title == "x")
    )
    assert sql.constants == {"title_1": "x"}
    assert sql.bind({"uuid": "u"}) == {"title_1": "x", "uuid": "u"}


def test_an_insert_may_say_what_becomes_of_a_row_that_is_there() -> None:
    sql = compiled(insert(deletion).on_conflict_do_nothing())
    assert sql.text == "INSERT INTO deletion (uuid, revision) VALUES (:uuid, :revision) ON CONFLICT DO NOTHING"
