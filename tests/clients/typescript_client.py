"""Run the real TypeScript client in Node, and return what each of its steps found."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.documents import ROOT

CLIENTS = ROOT / ".clients"
MISSING = "00000000-0000-0000-0000-000000000000"
ANOTHER = "written by another process"
SENT = "sent by the client"


def run_client(url: str, key: str, conversation_id: str, write: Callable[[], None]) -> dict[str, Any]:
    """Use the client with a server; `write` adds a message that says `ANOTHER` once the client listens."""
    script = CLIENTS / "typescript.mjs"  # beside node_modules
    shutil.copyfile(Path(__file__).with_name("typescript.mjs"), script)
    asked = {"url": url, "key": key, "id": conversation_id, "missing": MISSING, "another": ANOTHER, "sent": SENT}
    found: dict[str, Any] = {}
    with subprocess.Popen(["node", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        for line in process.stdout:
            told = json.loads(line)
            found[told["step"]] = told["found"]
            if told["step"] == "opens the socket":
                write()
    assert process.returncode == 0, f"the client stopped after these steps: {list(found)}"
    return found
