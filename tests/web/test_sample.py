"""The sample that `make run` serves: events of every kind, all of which the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
from pathlib import Path

import orjson
import pytest

from app import ConversationStore, Settings
from app.model.ids import ConversationId
from app.web import conversation_view
from app.web.templates import render
from tests.conformance.agent_server import needs_agent_server
from tests.conftest import DATA

SAMPLE = DATA / "sample.tar.gz"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample")
    with tarfile.open(SAMPLE) as archive:
        archive.extractall(root, filter="data")
    return root / "conversations"


def kinds(sample: Path) -> set[str]:
    found: set[str] = set()
    for path in sample.rglob("event-*.json"):
        found |= {one.decode() for one in re.findall(rb'"kind":\s*"(\w+)"', path.read_bytes())}
    return found


def test_the_sample_has_events_of_every_kind_that_is_kept(sample: Path) -> None:
    wanted = {
        *("SystemPromptEvent", "MessageEvent", "ActionEvent", "ObservationEvent", "ACPToolCallEvent"),
        *("AgentErrorEvent", "ConversationErrorEvent", "UserRejectObservation", "HookExecutionEvent"),
        *("CondensationRequest", "Condensation", "PauseEvent", "InterruptEvent", "ConversationStateUpdateEvent"),
        *("TerminalAction", "FileEditorAction", "TaskTrackerAction", "ThinkAction", "FinishAction", "TaskAction"),
        "BrowserObservation",
    }
    assert wanted - kinds(sample) == set()


@pytest.mark.long
async def test_every_event_of_the_sample_is_shown_folded_or_unreadable(sample: Path) -> None:
    async with ConversationStore.open(Settings(store=sample, timezone="UTC")) as store:
        await store.sync()
        for directory in {path.parent.parent for path in sample.rglob("event-00000-*")}:
            log = await store.open_log(ConversationId(directory.name))
            files = sorted(int(path.name.split("-")[1]) for path in directory.glob("events/event-*"))
            shown: list[int] = []
            for start in range(0, files[-1] + 1, conversation_view.SECTION):
                section = await conversation_view.make_sections(log, directory.name, start, conversation_view.SECTION)
                shown += [int(one) for one in re.findall(r'data-seq="(\d+)"', render("sections.html", section))]
            assert sorted(shown) == files, directory.name


def test_one_file_of_the_sample_is_torn(sample: Path) -> None:
    torn = []
    for path in sample.rglob("event-*.json"):
        try:
            orjson.loads(path.read_bytes())
        except orjson.JSONDecodeError:
            torn.append(path.name[:11])
    assert torn == ["event-00003"]


@needs_agent_server
@pytest.mark.long
def test_the_script_makes_the_sample_that_ships(tmp_path: Path) -> None:
    made = tmp_path / "made.tar.gz"
    script = [os.environ["OPENHANDS_PYTHON"], str(DATA / "make_sample.py"), str(made)]
    environment = os.environ | {"OPENHANDS_SUPPRESS_BANNER": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "true"}
    subprocess.run(script, check=True, capture_output=True, env=environment)
    assert made.read_bytes() == SAMPLE.read_bytes()
