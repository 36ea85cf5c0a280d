"""Long outputs that the SDK saves in observations/ are in their events too, so nothing needs to read these files."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif("OPENHANDS_PYTHON" not in os.environ, reason="no Python with openhands-sdk was given"),
]

SAVE = """
import json, sys
from openhands.sdk.event import ObservationEvent
from openhands.tools.browser_use.definition import BrowserObservation
from openhands.tools.terminal.definition import TerminalObservation
from openhands.tools.terminal.metadata import CmdOutputMetadata

text, directory = sys.stdin.read(), sys.argv[1]
seen = [
    TerminalObservation.from_text(
        text=text, command="seq", full_output_save_dir=directory,
        metadata=CmdOutputMetadata(exit_code=0, working_dir="/w"),
    ),
    BrowserObservation.from_text(text=text, full_output_save_dir=directory),
]
for one in seen:
    one.to_llm_content  # saves what a model does not see
made = [ObservationEvent(tool_name="t", tool_call_id="c", action_id="a", observation=one) for one in seen]
print(json.dumps([one.model_dump(mode="json") for one in made]))
"""


def test_an_event_has_all_of_an_output_that_was_saved(tmp_path: Path) -> None:
    text = "".join(f"line {number}\n" for number in range(20_000))
    ran = subprocess.run(
        [os.environ["OPENHANDS_PYTHON"], "-c", SAVE, tmp_path],
        input=text,
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    )
    for event in json.loads(ran.stdout.splitlines()[-1]):
        assert [block["text"] for block in event["observation"]["content"]] == [text]
    [browser, terminal] = sorted(tmp_path.iterdir())
    assert browser.read_text() == text
    assert terminal.read_text() == f"{text}\n[Current working directory: /w]\n[Command finished with exit code 0]"
