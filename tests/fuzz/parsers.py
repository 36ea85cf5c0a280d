"""`python -m tests.fuzz.parsers`: atheris makes up bytes for each parser, guided by what they reach in it.

A parser may refuse what it gets with an error of convstore's own, and with no other. atheris is no dependency of the
project: `make fuzz-parsers` installs it into an environment of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC
from pathlib import Path

try:
    import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]

    instrumented: AbstractContextManager[object] = atheris.instrument_imports(include=["app.model", "app.files"])
except ImportError:
    instrumented = nullcontext()

with instrumented:
    from app.errors import StoreError
    from app.files import layout, lease, metadata_reader
    from app.files.archive.import_jsonl import JsonLinesSource
    from app.files.archive.import_sources import Source
    from app.files.archive.import_zip import ZipSource
    from app.files.metadata_reader import Reader
    from app.model.archive_format import FOREIGN_ARCHIVE, ArchiveFile
    from app.model.change_token import parse_change_token
    from app.model.conversation import fold
    from app.model.event import content_texts, event_facts, final_response, message_text, parse_json_object
    from app.model.ids import ConversationId, find_conversation_id, find_event_name
    from app.model.json_splice import parse_raw_object
    from app.model.page import decode_token
    from app.model.text.tokenizer import parse_question, split

from tests.builders import make_conversation, make_id

_ID = ConversationId(make_id(1))
_SECONDS = 60


class Parsers:
    """The parsers, and a directory for those that read files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._conversation = make_conversation(directory, 1)

    def events(self, raw: bytes) -> None:
        """Read an event."""
        event = parse_json_object(raw)
        event_facts(event, UTC, tools=True)
        message_text(event)
        final_response(event)
        content_texts(event.get("content"))

    def meta(self, raw: bytes) -> None:
        """Read meta.json."""
        self._read(layout.META, raw)

    def state(self, raw: bytes) -> None:
        """Read base_state.json, as for the index and as for writing."""
        self._read(layout.STATE, raw)
        parse_raw_object(raw)

    def _read(self, name: str, raw: bytes) -> None:
        (self._conversation / name).write_bytes(raw)
        files = metadata_reader.read_conversation(Reader(self._directory, UTC), self._conversation.name, _ID)
        assert files is not None
        fold(files, include_skills=True)

    def lease(self, raw: bytes) -> None:
        """Read a lease."""
        (self._conversation / layout.LEASE).write_bytes(raw)
        lease.find_holder(self._directory, self._conversation.name)

    def tokens(self, raw: bytes) -> None:
        """Read ids, page tokens and places in the change feed."""
        text = raw.decode(errors="surrogateescape")
        find_conversation_id(text)
        find_event_name(text)
        for parse in (lambda: decode_token(text, "digest", int), lambda: parse_change_token(text)):
            try:
                parse()
            except StoreError:
                continue

    def queries(self, raw: bytes) -> None:
        """Read what somebody looks for."""
        text = raw.decode(errors="replace")
        split(text)
        parse_question(text)

    def archives(self, raw: bytes) -> None:
        """Read a zip and a file of JSON Lines."""
        for kind, name in ((ZipSource, "a.zip"), (JsonLinesSource, "a.jsonl")):
            path = self._directory / name
            path.write_bytes(raw)
            try:
                self._read_archive(kind(path, FOREIGN_ARCHIVE))
            except StoreError:
                continue

    def _read_archive(self, source: Source) -> None:
        for incoming in source.read():
            for file in incoming.files:
                assert not isinstance(file, ArchiveFile) or ".." not in file.name.split("/")


TARGETS = ("events", "meta", "state", "lease", "tokens", "queries", "archives")


def fuzz(target: str, seconds: int) -> None:
    """Fuzz one parser in this process, which ends with it."""
    with tempfile.TemporaryDirectory(prefix="convstore-fuzz-") as name:
        parse: Callable[[bytes], None] = getattr(Parsers(Path(name)), target)

        def one(raw: bytes) -> None:
            try:
                parse(raw)
            except StoreError:
                return

        atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096", f"-artifact_prefix={target}-"], one)
        atheris.Fuzz()


def main() -> None:
    """Fuzz each parser in a process of its own, and say how many inputs it took."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.parsers", description=__doc__)
    parser.add_argument("--seconds", type=int, default=_SECONDS, help=f"for each; default {_SECONDS}")
    parser.add_argument("--only", choices=TARGETS, help="in this process")
    asked = parser.parse_args()
    if asked.only:
        fuzz(asked.only, asked.seconds)
    failed = False
    for target in TARGETS:
        command = [sys.executable, "-m", "tests.fuzz.parsers", "--only", target, "--seconds", str(asked.seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        told = [line for line in done.stderr.splitlines() if line.startswith("Done ")]
        failed = failed or bool(done.returncode) or not told
        print(f"{target}: {told[-1] if told else done.stderr[-3000:]}", flush=True)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
