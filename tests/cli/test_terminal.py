"""What a terminal gets cannot steer it, whatever a conversation says."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import make_conversation, make_event, make_id

HOSTILE = "a\x1b[31m\x9b31m\u202eb"
COMMANDS = {
    "list": ["list", "--json"],
    "tail": ["tail", make_id(1), "--json"],
    "jsonl": ["export", make_id(1), "--format", "jsonl", "-o", "-"],
    "markdown": ["export", make_id(1), "--format", "markdown", "-o", "-"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_terminal_is_not_steered_and_json_says_the_same(root: Path, name: str) -> None:
    content = [{"type": "text", "text": HOSTILE}]
    path = make_conversation(root, meta={"title": HOSTILE}, events=[make_event(0, llm_message={"content": content})])
    meta = json.loads((path / "meta.json").read_bytes())
    (path / "meta.json").write_text(json.dumps(meta, ensure_ascii=False))  # as agent-server writes it, not escaped
    command = [str(Path(sys.executable).with_name("convstore")), *COMMANDS[name], "--store", str(root)]
    piped = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode()
    outside, terminal = pty.openpty()
    with subprocess.Popen(command, stdout=terminal, stderr=subprocess.DEVNULL) as running:
        os.close(terminal)
        said = read_all(outside)
        assert running.wait(20) == 0
    assert "\u202e" in piped
    assert not {"\x1b", "\x9b", "\u202e"} & set(said)
    if name in ("list", "tail"):
        assert json.loads(said) == json.loads(piped)


def read_all(outside: int) -> str:
    """Return what a terminal shows until its program ends."""
    said = b""
    try:
        while data := os.read(outside, 65_536):
            said += data
    except OSError:  # Linux says so where others say that nothing comes any more
        pass
    finally:
        os.close(outside)
    return said.decode()
