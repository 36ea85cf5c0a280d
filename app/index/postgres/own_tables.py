"""The tables that only an index in PostgreSQL has."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR

from ..tables import message, metadata

# `app.index.tables` names the conditions of partial indexes for SQLite alone, so that it does not import this dialect.
for _table in metadata.tables.values():
    for _index in _table.indexes:
        if (_condition := _index.dialect_options["sqlite"]["where"]) is not None:
            _index.dialect_options["postgresql"]["where"] = _condition

own_metadata = MetaData(naming_convention=metadata.naming_convention)

message_words = Table(
    "message_words",
    own_metadata,
    Column("id", BigInteger, ForeignKey(message.c.id), primary_key=True, autoincrement=False),
    Column("words", TSVECTOR, nullable=False, comment="of the message's text, by convstore's tokenizer"),
    Index("ix_message_words_words", "words", postgresql_using="gin"),
)

turn = Table(
    "turn",
    own_metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False, comment="of transactions that wrote; whoever raises it is the writer"),
    CheckConstraint("id = 1", name="single_row"),
)

duty = Table(
    "duty",
    own_metadata,
    Column("name", Text(collation="C"), primary_key=True),
    Column("holder", Text(collation="C"), nullable=False),
    Column("beat_at", DateTime(timezone=True), nullable=False, comment="when its holder last said that it lives"),
    Column("backend", Integer, nullable=False, comment="the holder's server process"),
    Column("backend_start", DateTime(timezone=True), nullable=False),
)

host = Table(
    "host",
    own_metadata,
    Column("instance", Text(collation="C"), primary_key=True, comment="the name with which it owns conversations"),
    Column(
        "boot", Text(collation="C"), nullable=False, comment="of its machine, within which file locks tell who lives"
    ),
    Column("beat_at", DateTime(timezone=True), nullable=False, comment="when it last said that it lives"),
    Column("dead", Boolean, nullable=False, comment="whether others may take over its conversations"),
)

store = Table(
    "store",
    own_metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("token", Text(collation="C"), nullable=False, comment="of its conversations directory"),
    CheckConstraint("id = 1", name="single_row"),
)

OTHERWISE_INDEXED = frozenset(
    {"ix_conversation_workspace", "ix_edit_path", "uq_edit_path", "uq_tally_value", "ix_tally_number"}
)
"""The database indexes on texts that may be too long for a B-tree of PostgreSQL. The migration makes hash indexes."""
