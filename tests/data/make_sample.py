"""Make sample.tar.gz: conversations with events of every kind, for the page. Run by hand.

    OPENHANDS_SUPPRESS_BANNER=1 $OPENHANDS_PYTHON tests/data/make_sample.py [FILE]

$OPENHANDS_PYTHON is a Python with openhands-sdk and openhands-agent-server 1.58.2. Their models write every file but the
torn one, so that each is as an agent-server writes it. Two runs make the same bytes. Ids of events count upwards,
because random ones would double the size of the archive.
"""

# mypy: disable-error-code="import-not-found, misc"
# ruff: noqa: E501, INP001, RUF001 - the texts are long and of many scripts, and no test imports this file
from __future__ import annotations

import base64
import gzip
import io
import json
import random
import struct
import sys
import tarfile
import uuid
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from openhands.agent_server.models import StoredConversation
from openhands.sdk import LLM, Agent, ImageContent, LocalWorkspace, Message, TextContent, Tool
from openhands.sdk import event as events
from openhands.sdk.agent import ACPAgent
from openhands.sdk.conversation.conversation_stats import ConversationStats
from openhands.sdk.conversation.state import ConversationState
from openhands.sdk.event.acp_tool_call import ACPToolCallEvent
from openhands.sdk.event.conversation_error import ConversationErrorEvent
from openhands.sdk.event.hook_execution import HookExecutionEvent
from openhands.sdk.event.user_action import InterruptEvent
from openhands.sdk.llm import MessageToolCall
from openhands.sdk.llm.utils.metrics import Cost, Metrics, TokenUsage
from openhands.sdk.tool.builtins.finish import FinishAction, FinishObservation
from openhands.sdk.tool.builtins.think import ThinkAction, ThinkObservation
from openhands.tools.browser_use.definition import BrowserNavigateAction, BrowserObservation
from openhands.tools.file_editor.definition import FileEditorAction, FileEditorObservation
from openhands.tools.task.definition import TaskAction, TaskObservation
from openhands.tools.task_tracker.definition import TaskItem, TaskTrackerAction, TaskTrackerObservation
from openhands.tools.terminal.definition import TerminalAction, TerminalObservation

OUTPUT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("sample.tar.gz")
LAST_DAY = datetime(2026, 11, 28, tzinfo=UTC)
CLAUDE, GPT, QWEN, GEMINI = (
    "anthropic/claude-sonnet-4-5-20250929", "openai/gpt-5.1", "litellm_proxy/qwen3-coder-480b", "gemini/gemini-3-pro",
)  # fmt: skip
RED, GREEN, YELLOW, CYAN, BOLD, DIM, OFF = (f"\x1b[{code}m" for code in ("31", "32", "33", "36", "1", "2", "0"))

_random = random.Random(17)  # noqa: S311 - the same sample each time


def text(value: str) -> TextContent:
    """Return a part of a message."""
    return TextContent(text=value)


def picture(width: int, height: int, boxes: list[tuple[int, int, int, int, tuple[int, int, int]]]) -> str:
    """Return a PNG of coloured boxes (left, top, right, bottom, colour) as base64."""
    pixels = [[(250, 250, 248)] * width for _ in range(height)]
    for left, top, right, bottom, colour in boxes:
        for row in pixels[top:bottom]:
            row[left:right] = [colour] * (min(right, width) - left)
    lines = b"".join(b"\0" + bytes(value for pixel in row for value in pixel) for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
    return base64.b64encode(png).decode()


class Talk:
    """A conversation that is being made: its events, its clock, and what its model cost."""

    made: list[Talk] = []  # noqa: RUF012 - the sample

    def __init__(
        self, title: str, start: datetime, workspace: str = "ledger", model: str = CLAUDE, *,
        status: str = "finished", tags: dict[str, str] | None = None, parent: Talk | None = None,
        archived: bool = False, pinned: bool = False, acp: str = "",
    ) -> None:  # fmt: skip
        self.id = uuid.UUID(int=_random.getrandbits(128), version=4)
        self.title, self.status, self.tags, self.parent = title, status, tags or {}, parent
        self.flags = {name: True for name, on in (("archived", archived), ("pinned", pinned)) if on}
        self.directory, self.model, self.acp = f"/home/dev/{workspace}", model, acp
        self.now = self.start = start
        self.events: list[Any] = []
        self.metrics = Metrics(model_name=model)
        self.blocked: dict[str, str] = {}
        Talk.made.append(self)
        prompt = "You are a coding agent. Work in the given directory, keep changes small and verify them."
        if not acp:
            self.add(events.SystemPromptEvent, system_prompt=text(prompt), tools=[])

    def later(self, **amount: float) -> None:
        """Let time pass."""
        self.now += timedelta(**amount)

    def add(self, kind: type, **fields: Any) -> Any:
        """Append an event."""
        self.now += timedelta(milliseconds=_random.randrange(40, 900))
        seq = len(self.events)
        event = kind(
            id=f"{self.id.hex[:8]}-0000-4000-8000-{seq:012x}",
            timestamp=self.now.replace(tzinfo=None).isoformat(timespec="milliseconds"),
            parent_id=self.events[-1].id if self.events else None,
            **fields,
        )
        self.events.append(event)
        return event

    def state(self, key: str, value: Any) -> None:
        """Append an update of the state."""
        self.add(events.ConversationStateUpdateEvent, key=key, value=value)

    def user(self, said: str, *images: str) -> None:
        """Append a message of the user, with pictures."""
        content = [text(said), *(ImageContent(image_urls=[f"data:image/png;base64,{one}"]) for one in images)]
        self.add(events.MessageEvent, source="user", llm_message=Message(role="user", content=content))
        self.state("execution_status", "running")

    def agent(self, said: str, thinking: str | None = None) -> None:
        """Append a message of the agent."""
        self.call_model()
        message = Message(role="assistant", content=[text(said)], reasoning_content=thinking)
        self.add(events.MessageEvent, source="agent", llm_message=message)

    def call_model(self, cost: float | None = None) -> None:
        """Record a call of the model; a long conversation has the cheaper calls of a cache."""
        self.later(seconds=_random.uniform(1.2, 9))
        seq = len(self.events)
        prompt = min(22_000 + 400 * seq, 40_000)
        usage = TokenUsage(
            model=self.model, prompt_tokens=prompt, completion_tokens=_random.randrange(60, 900),
            cache_read_tokens=int(prompt * 0.82), context_window=200_000, response_id=f"resp-{len(self.events)}",
        )  # fmt: skip
        price = cost or round((0.004 if seq > 100 else prompt * 1.1e-6) + usage.completion_tokens * 9e-6, 5)
        self.metrics.costs.append(Cost(model=self.model, cost=price, timestamp=self.now.timestamp()))
        self.metrics.accumulated_cost = round(self.metrics.accumulated_cost + price, 5)
        self.metrics.token_usages.append(usage)

    def act(self, tool: str, action: Any, thought: str = "", thinking: str | None = None) -> Any:
        """Append an action."""
        self.call_model()
        call = f"call_{len(self.events):04x}"
        given = json.dumps(action.model_dump(exclude_none=True, exclude={"kind"}), ensure_ascii=False)
        return self.add(
            events.ActionEvent, thought=[text(thought)] if thought else [], reasoning_content=thinking, action=action,
            tool_name=tool, tool_call_id=call, llm_response_id=f"resp-{len(self.events)}",
            tool_call=MessageToolCall(id=call, name=tool, arguments=given, origin="completion"),
        )  # fmt: skip

    def see(self, action: Any, observation: Any, seconds: float = 0.2) -> None:
        """Append the observation of an action."""
        self.later(seconds=seconds)
        self.add(
            events.ObservationEvent, observation=observation, action_id=action.id, tool_name=action.tool_name,
            tool_call_id=action.tool_call_id,
        )  # fmt: skip

    def run(
        self, command: str, output: str, code: int = 0, seconds: float = 0.3, thought: str = "",
        thinking: str | None = None,
    ) -> None:  # fmt: skip
        """Append a command and its output."""
        action = self.act("terminal", TerminalAction(command=command), thought, thinking)
        self.see(action, TerminalObservation.from_text(output, command=command, exit_code=code), seconds)

    def edit(self, path: str, old: str | None, new: str, thought: str = "") -> None:
        """Append the change of a file, or its creation."""
        path = f"{self.directory}/{path}"
        if old is None:
            action = FileEditorAction(command="create", path=path, file_text=new)
            told = f"File created successfully at: {path}"
        else:
            action = FileEditorAction(command="str_replace", path=path, old_str=old[:200], new_str=new[:200])
            told = f"The file {path} has been edited."
        self.see(
            self.act("file_editor", action, thought),
            FileEditorObservation.from_text(
                told, command=action.command, path=path, prev_exist=old is not None, old_content=old, new_content=new
            ),
        )  # fmt: skip

    def read(self, path: str, content: str) -> None:
        """Append the view of a file."""
        path = f"{self.directory}/{path}"
        shown = "\n".join(f"{number:6}\t{line}" for number, line in enumerate(content.splitlines(), 1))
        action = self.act("file_editor", FileEditorAction(command="view", path=path))
        self.see(action, FileEditorObservation.from_text(shown, command="view", path=path))

    def plan(self, *tasks: tuple[str, str]) -> None:
        """Append a list of tasks."""
        items = [TaskItem(title=title, status=status) for title, status in tasks]
        action = self.act("task_tracker", TaskTrackerAction(command="plan", task_list=items))
        told = f"Task list has been updated with {len(items)} item(s)."
        self.see(action, TaskTrackerObservation.from_text(told, command="plan", task_list=items))

    def think(self, thought: str) -> None:
        """Append a thought that is a tool call."""
        action = self.act("think", ThinkAction(thought=thought))
        self.see(action, ThinkObservation.from_text("Your thought has been logged."))

    def finish(self, message: str) -> None:
        """Append the final answer."""
        action = self.act("finish", FinishAction(message=message))
        self.see(action, FinishObservation.from_text(message))
        self.state("execution_status", "finished")

    def hook(self, kind: str, command: str, **fields: Any) -> None:
        """Append the run of a hook."""
        self.add(HookExecutionEvent, hook_event_type=kind, hook_command=command, **{"success": True, **fields})

    def acp_call(self, kind: str, title: str, **fields: Any) -> None:
        """Append a tool call of an ACP server."""
        self.call_model()
        self.add(
            ACPToolCallEvent, tool_call_id=f"toolu_{len(self.events):04x}", title=title, tool_kind=kind,
            **{"status": "completed", **fields},
        )  # fmt: skip

    def condense(self, first: int, last: int, summary: str) -> None:
        """Append a condensation of the events numbered so."""
        gone = sorted(event.id for event in self.events[first:last])
        self.add(events.CondensationRequest)
        self.add(
            events.Condensation, forgotten_event_ids=gone, summary=summary, summary_offset=2, llm_response_id="resp-c"
        )

    def files(self) -> dict[str, bytes]:
        """Return the files of its directory."""
        used = self.metrics.token_usages
        self.metrics.accumulated_token_usage = TokenUsage(
            model=self.model, prompt_tokens=sum(one.prompt_tokens for one in used), context_window=200_000,
            completion_tokens=sum(one.completion_tokens for one in used),
            cache_read_tokens=sum(one.cache_read_tokens for one in used),
        )  # fmt: skip
        if self.acp:
            agent = ACPAgent(acp_command=["npx", "-y", self.acp], acp_model=self.model)
        else:
            llm = LLM(model=self.model, api_key="not-a-real-key", usage_id="agent")
            agent = Agent(llm=llm, tools=[Tool(name=name) for name in ("terminal", "file_editor", "task_tracker")])
        workspace = LocalWorkspace(working_dir=self.directory)
        state = ConversationState(
            id=self.id, agent=agent, workspace=workspace, persistence_dir=f"/srv/conversations/{self.id.hex}",
            execution_status=self.status, tags=self.tags, leaf_event_id=self.events[-1].id,
            stats=ConversationStats(usage_to_metrics={"agent": self.metrics} if used else {}),
        )  # fmt: skip
        stored = StoredConversation(
            id=self.id, title=self.title, workspace=workspace, created_at=self.start, updated_at=self.now,
            tags=self.tags,
        )  # fmt: skip
        files = {} if self.parent else {"meta.json": stored.model_dump_json().encode()}  # the SDK alone writes none
        files |= {
            "base_state.json": state.model_dump_json(exclude_none=True).encode(),
            "events/.eventlog.lock": b"",
            f"events/.eventlog-len-{len(self.events)}.marker": b"",
        }
        if self.flags:
            files["convstore.json"] = json.dumps(self.flags).encode()
        for seq, event in enumerate(self.events):
            raw = event.model_dump_json(exclude_none=True)
            if isinstance(event, events.Condensation):  # a set, in another order each time
                value = json.loads(raw)
                raw = json.dumps(value | {"forgotten_event_ids": sorted(value["forgotten_event_ids"])})
            files[f"events/event-{seq:05}-{event.id}.json"] = raw.encode()
        return files


def day(ago: int, hour: int = 9, minute: int = 0) -> datetime:
    """Return a time so many days before the last one."""
    return LAST_DAY - timedelta(days=ago) + timedelta(hours=hour, minutes=minute)


_SCHEMA = '''"""The schema of the ledger."""

from sqlalchemy import create_engine


def upgrade(url: str) -> None:
    engine = create_engine(url)
    engine.execute("CREATE TABLE IF NOT EXISTS ledger_entry (id INTEGER PRIMARY KEY, amount INTEGER)")
    engine.execute("CREATE INDEX IF NOT EXISTS ledger_entry_amount ON ledger_entry (amount)")


def is_current(url: str) -> bool:
    """Whether the schema is the newest one."""
    return True
'''
_SCHEMA_NEW = '''"""The schema of the ledger, kept by Alembic."""

from alembic import command
from alembic.config import Config


def upgrade(url: str) -> None:
    config = Config("alembic.ini")
    config.set_main_option("sqlalchemy.url", url)
    command.upgrade(config, "head")


def is_current(url: str) -> bool:
    """Whether the schema is the newest one."""
    return True
'''
_REVISION = '''"""The first schema."""

from alembic import op
import sqlalchemy as sa

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "ledger_entry",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("amount", sa.Integer, nullable=False),
    )
    op.create_index("ledger_entry_amount", "ledger_entry", ["amount"])


def downgrade() -> None:
    op.drop_table("ledger_entry")
'''
_FAILED = f"""{BOLD}============================= test session starts =============================={OFF}
collected 7 items

tests/migrations/test_first.py {GREEN}....{OFF}{RED}F{OFF}{GREEN}..{OFF}                              {RED}[100%]{OFF}

=================================== FAILURES ===================================
{RED}{BOLD}________________________ test_duplicates_are_kept_once _________________________{OFF}

    def test_duplicates_are_kept_once(engine):
        migrate(engine)
>       assert count(engine, "ledger_entry") == 3
{RED}E       assert 4 == 3{OFF}
{RED}E        +  where 4 = count(<Engine>, 'ledger_entry'){OFF}

tests/migrations/test_first.py:41: AssertionError
{CYAN}=========================== short test summary info ============================{OFF}
{RED}FAILED{OFF} tests/migrations/test_first.py::{BOLD}test_duplicates_are_kept_once{OFF} - assert 4 == 3
{RED}========================= {BOLD}1 failed{OFF}, {GREEN}6 passed{OFF}{RED} in 11.82s ========================={OFF}
"""
_PASSED = f"""tests/migrations/test_first.py {GREEN}.......{OFF}                              {GREEN}[100%]{OFF}
{GREEN}============================== {BOLD}7 passed{OFF}{GREEN} in 9.41s =============================={OFF}
"""
_README = "# Ledger\n\nRun `make db` to make the schema.\n\n## Tests\n\nRun `pytest`.\n"
_README_NEW = (
    "# Ledger\n\nRun `alembic upgrade head` to make the schema, or to bring an old one up to date.\n\n"
    "## Tests\n\nRun `pytest`. The tests in `tests/migrations` need PostgreSQL.\n"
)


def make_every_kind() -> None:
    """Make the conversation with most kinds of events."""
    talk = Talk("Move the ledger to Alembic", day(0, 8, 12), tags={"area": "ledger", "team": "data"}, pinned=True)
    talk.hook("SessionStart", ".openhands/hooks/start.sh", exit_code=0, stdout="virtual environment is ready\n")
    talk.user(
        "Replace the hand-written schema script with an Alembic migration, and keep the old data. The tests in "
        "`tests/migrations` must pass on SQLite **and** PostgreSQL."
    )
    talk.agent(
        "I will look at how the schema is made today, then write the first revision and compare both results.",
        "The script may be called from several places. Find the callers before changing it.",
    )
    talk.run(
        "git log --oneline -5 && ls db/",
        f"{YELLOW}a41f0c2{OFF} Round amounts once\n{YELLOW}9be1d07{OFF} Add balances\n{YELLOW}51c2aa9{OFF} First schema\n"
        f"{CYAN}db/{OFF}\n__init__.py  balance.py  schema.py\n",
    )  # fmt: skip
    talk.read("db/schema.py", _SCHEMA)
    talk.plan(
        ("Write the first revision", "in_progress"), ("Call Alembic from db/schema.py", "todo"),
        ("Keep old data", "todo"), ("Tests on both databases", "todo"),
    )  # fmt: skip
    talk.edit("migrations/versions/0001_first.py", None, _REVISION, "The first revision makes what the script makes.")
    talk.edit("db/schema.py", _SCHEMA, _SCHEMA_NEW)
    talk.run("pytest -q tests/migrations", _FAILED, 1, 12.4)
    talk.think("The old table has duplicate rows: the importer ran twice in March. The newest of each must win.")
    talk.user("Yes, keep the newest of each duplicate.")
    talk.edit(
        "migrations/versions/0001_first.py", _REVISION,
        _REVISION.replace(
            '    op.create_index("ledger', '    op.execute(KEEP_NEWEST)\n    op.create_index("ledger'
        ).replace(
            "down_revision = None\n",
            'down_revision = None\n\nKEEP_NEWEST = """\nDELETE FROM ledger_entry WHERE id NOT IN (\n'
            '    SELECT max(id) FROM ledger_entry GROUP BY amount\n)\n"""\n',
        ),
    )  # fmt: skip
    talk.hook("PostToolUse", "ruff format", tool_name="file_editor", exit_code=0, stdout="1 file reformatted\n")
    removal = talk.act("terminal", TerminalAction(command="rm -rf backups/"), "The old dumps are not needed any more.")
    talk.hook(
        "PreToolUse", ".openhands/hooks/guard.sh", tool_name="terminal", blocked=True, success=False, exit_code=2,
        reason="backups/ is protected: ask before you delete it.", action_id=removal.id,
    )  # fmt: skip
    talk.add(
        events.UserRejectObservation, rejection_reason="backups/ is protected: ask before you delete it.",
        rejection_source="hook", action_id=removal.id, tool_name="terminal", tool_call_id=removal.tool_call_id,
    )  # fmt: skip
    drop = talk.act("terminal", TerminalAction(command="psql ledger -c 'DROP TABLE balance CASCADE'"))
    talk.later(minutes=2)
    talk.add(
        events.UserRejectObservation, rejection_reason="The balance view is used by the reports. Leave it.",
        action_id=drop.id, tool_name="terminal", tool_call_id=drop.tool_call_id,
    )  # fmt: skip
    talk.add(events.PauseEvent)
    talk.state("execution_status", "paused")
    talk.later(hours=3, minutes=20)
    talk.user("Go on, and do not touch the backups.")
    talk.condense(
        4, 16, "## So far\n\n- The first revision is in `migrations/versions/0001_first.py`.\n"
        "- `db/schema.py` calls Alembic.\n- Open: duplicates, and the run on PostgreSQL.",
    )  # fmt: skip
    call = talk.act("browser_navigate", BrowserNavigateAction(url="https://alembic.example/docs/batch"))
    talk.add(
        events.AgentErrorEvent, error="Tool 'browser_navigate' not found. Available: terminal, file_editor, finish.",
        tool_name=call.tool_name, tool_call_id=call.tool_call_id,
    )  # fmt: skip
    talk.edit("README.md", _README, _README_NEW)
    talk.add(
        ConversationErrorEvent, source="environment", code="LLMServiceUnavailableError",
        detail="The model did not answer in 300 s. The run can be continued.",
    )  # fmt: skip
    talk.later(minutes=14)
    talk.user("Try again.")
    build = "".join(
        f"{DIM}[{step:3}/260]{OFF} {GREEN}ok{OFF}   tests/postgres/test_{step:03}.py\n" for step in range(1, 261)
    )
    talk.run("make test-postgres", build + f"{BOLD}{GREEN}260 passed{OFF} in 41.20s\n", 0, 42)
    talk.run("pytest -q tests/migrations", _PASSED, 0, 9.6)
    talk.plan(
        ("Write the first revision", "done"), ("Call Alembic from db/schema.py", "done"),
        ("Keep old data", "done"), ("Tests on both databases", "done"),
    )  # fmt: skip
    talk.finish(
        "The schema is made by Alembic now.\n\n| database | tests | time |\n|---|---|---|\n| SQLite | 7 | 9.4 s |\n"
        "| PostgreSQL | 260 | 41.2 s |\n\n- `db/schema.py` calls `alembic upgrade head`.\n"
        "- Of duplicate entries the newest is kept.\n- The backups are untouched.\n\n"
        "```sql\nSELECT count(*) FROM ledger_entry;\n```"
    )


def make_pictures() -> None:
    """Make a conversation with pictures of the user and of a browser."""
    blue, grey, dark = (36, 87, 214), (216, 218, 222), (40, 44, 52)
    frame = [(0, 0, 320, 28, dark), (12, 44, 120, 60, grey), (12, 72, 200, 84, grey), (12, 96, 180, 108, grey)]
    talk = Talk("Settings screen does not fit on a phone", day(1, 14, 3), "frontend", GPT, tags={"area": "frontend"})
    talk.user(
        "The Save button is cut off on a phone. See the picture.",
        picture(320, 180, [*frame, (280, 140, 380, 168, blue)]),
    )
    talk.agent("I will look at the page as a phone shows it.")
    action = talk.act("browser_navigate", BrowserNavigateAction(url="http://127.0.0.1:5173/settings"))
    shot = picture(320, 180, [*frame, (292, 140, 380, 168, blue)])
    talk.see(
        action, BrowserObservation.from_text("Settings — Ledger\nbutton 'Save' at x=292", screenshot_data=shot), 1.4
    )
    css = ".settings {\n  display: flex;\n  width: 420px;\n}\n\n.settings button {\n  margin-left: 280px;\n}\n"
    talk.edit(
        "src/settings.css", css,
        css.replace("width: 420px", "flex-wrap: wrap;\n  max-width: 100%").replace("margin-left: 280px", "margin-left: auto"),
        "A width of 420 px is wider than the screen.",
    )  # fmt: skip
    action = talk.act("browser_navigate", BrowserNavigateAction(url="http://127.0.0.1:5173/settings"))
    shot = picture(320, 180, [*frame, (220, 140, 308, 168, blue)])
    talk.see(
        action, BrowserObservation.from_text("Settings — Ledger\nbutton 'Save' at x=220", screenshot_data=shot), 1.1
    )
    talk.finish("The button is inside the screen from 320 px on. I changed `src/settings.css` only.")


def make_acp() -> None:
    """Make a conversation of an agent that speaks ACP."""
    talk = Talk(
        "Rename the flags of the importer", day(0, 10, 40), "importer", "claude-opus-4-5",
        acp="@zed-industries/claude-code-acp", status="waiting_for_confirmation", tags={"area": "importer"},
    )  # fmt: skip
    talk.user("Rename `--dry` to `--dry-run` everywhere, and keep the old name as an alias.")
    talk.acp_call(
        "search", 'grep "--dry"', raw_input={"pattern": "--dry"},
        content=[{"type": "content", "content": {"type": "text", "text": "cli.py:12\nREADME.md:8\ntests/test_cli.py:30"}}],
    )  # fmt: skip
    talk.acp_call("read", "Read cli.py", raw_input={"path": "cli.py"}, raw_output="12 lines")
    talk.acp_call(
        "edit", "Edit cli.py and README.md",
        content=[
            {"type": "diff", "path": "cli.py", "old_text": 'parser.add_argument("--dry")\n',
             "new_text": 'parser.add_argument("--dry-run", "--dry", dest="dry_run")\n'},
            {"type": "diff", "path": "README.md", "old_text": "Try `importer --dry` first.\n",
             "new_text": "Try `importer --dry-run` first.\n"},
        ],
    )  # fmt: skip
    talk.acp_call(
        "execute", "pytest -q", raw_input={"command": "pytest -q"}, status="failed", is_error=True,
        content=[{"type": "content", "content": {"type": "text", "text": f"{RED}1 failed{OFF}, 30 passed\nE  unknown option --dry"}}],
    )  # fmt: skip
    talk.agent("One test passes `--dry` to the old script. May I change `scripts/old_import.sh` too?")


def make_subagents() -> None:
    """Make a conversation that hands parts to two sub-agents."""
    parent = Talk("Review the auth module", day(2, 11), "auth", tags={"area": "auth", "kind": "review"})
    parent.user("Review the auth module: one look at security, one at speed. Then tell me what to fix first.")
    found = (
        ("security", "Two findings:\n1. Tokens are compared with `==`.\n2. A reset link works twice."),
        ("speed", "One finding: every request reads the key file again (3.1 ms)."),
    )
    for place, (about, answer) in enumerate(found, 1):
        prompt = f"Review /home/dev/auth for {about}. Report at most five findings, the worst first."
        action = parent.act(
            "task", TaskAction(description=f"Review for {about}", prompt=prompt, subagent_type="reviewer")
        )
        child = Talk(f"Review for {about}", parent.now, "auth", QWEN, parent=parent)
        child.user(prompt)
        child.run(
            "rg -n 'token|secret' src | head", "src/token.py:14: if token == expected:\nsrc/reset.py:9: link = ...\n"
        )
        child.finish(answer)
        parent.now = child.now
        parent.see(
            action, TaskObservation.from_text(answer, task_id=f"task_{place}", subagent="reviewer", status="completed")
        )
    parent.finish(
        "**Fix first:** compare tokens with `hmac.compare_digest`. Then:\n\n1. Spend a reset link once.\n"
        "2. Keep the key in memory."
    )


def make_long() -> None:
    """Make a conversation of about 1,500 events."""
    talk = Talk(
        "Port the pipeline from Airflow to plain Python",
        day(4, 7),
        "pipeline",
        tags={"area": "pipeline", "team": "data"},
    )
    stages = (
        "extract",
        "clean",
        "join",
        "rates",
        "totals",
        "reports",
        "mail",
        "archive",
        "metrics",
        "alerts",
        "retry",
        "docs",
    )
    for number, stage in enumerate(stages):
        talk.user(f"Now port the {stage} stage. Keep its tests, and keep the names of its files.")
        for step in range(21):
            old = f'"""Stage {stage}."""\n\nSTEP = {step}\n\n\ndef run(rows):\n    return rows\n'
            talk.run(
                f"rg -n step_{step} dags/{stage}.py",
                f"dags/{stage}.py:{10 + step}: step_{step} = PythonOperator(...)\n",
            )
            talk.edit(
                f"pipeline/{stage}/step_{step}.py", old, old.replace("return rows", f"return sorted(rows)[{step}:]")
            )
            failed = (number * 21 + step) % 23 == 22
            talk.run(
                f"pytest -q tests/{stage}/test_step_{step}.py",
                f"{RED}1 failed{OFF}, 4 passed\n" if failed else f"{GREEN}5 passed{OFF} in 0.4{step % 10}s\n", int(failed), 0.9,
            )  # fmt: skip
            if failed:
                talk.agent(f"The rows of step {step} come in another order. I sort them before they are compared.")
        talk.agent(f"The {stage} stage runs without Airflow: 21 steps, all tests pass.")
        if number % 3 == 2:
            last = len(talk.events)
            talk.condense(last - 60, last - 20, f"Ported so far: {', '.join(stages[: number + 1])}.")
        talk.later(minutes=_random.randrange(2, 50))
    talk.finish("All twelve stages run without Airflow: 252 steps, 1,260 tests.")


def make_languages() -> None:
    """Make conversations in other scripts, some of which are written from right to left."""
    for ago, title, asked, answer, workspace in (
        (3, "为账本添加数据迁移脚本", "请为账本写一个数据迁移脚本，先备份，再迁移。", "已完成：先备份到 `backup/`，再迁移 1,204 行。", "ledger"),
        (9, "請求書のPDFを直す", "請求書のPDFで日本語が文字化けします。直してください。", "フォントを埋め込みました。**すべてのテストが通ります。**", "billing"),
        (15, "로그인 화면의 오타 고치기", "로그인 화면에 오타가 있어요. 고쳐 주세요.", "`src/login.tsx`에서 오타 두 개를 고쳤습니다.", "frontend"),
        (6, "أصلح ترتيب الفواتير", "الفواتير مرتبة بشكل خاطئ في `list.py`. أصلح الترتيب من فضلك.", "تم الإصلاح: الترتيب الآن حسب التاريخ ثم الرقم.", "billing"),
        (21, "תקן את מיון החשבוניות", "המיון שגוי. תקן אותו בבקשה.", "תוקן. כל הבדיקות עוברות.", "billing"),
    ):  # fmt: skip
        talk = Talk(title, day(ago, 13, 5), workspace, QWEN)
        talk.user(asked)
        talk.run("pytest -q", f"{GREEN}12 passed{OFF} in 1.31s\n", 0, 1.5)
        talk.finish(answer)


def make_unfinished() -> None:
    """Make conversations that wait, failed, were paused or are stuck; the events of one are torn."""
    talk = Talk("Fix the failing migration test on PostgreSQL 17", day(0, 12, 2), "ledger", GPT,
                status="waiting_for_confirmation", tags={"area": "ledger"})  # fmt: skip
    talk.user("The migration test fails on PostgreSQL 17 only. Fix it.")
    talk.run("pytest -q -k postgres", _FAILED, 1, 8.2)
    talk.act(
        "terminal",
        TerminalAction(command="psql ledger_test -c 'DROP VIEW balance'"),
        "I want to drop and recreate the view. May I?",
    )
    talk.state("execution_status", "waiting_for_confirmation")

    talk = Talk("Upgrade the frontend to Vite 8", day(1, 9, 30), "frontend", GEMINI, status="error")
    talk.user("Upgrade to Vite 8.")
    talk.run("npm install vite@8", f"{RED}npm error{OFF} code ERESOLVE\n{RED}npm error{OFF} could not resolve\n", 1, 4)
    talk.add(ConversationErrorEvent, source="environment", code="LLMAuthenticationError",
             detail="The key of the model was refused (401). Give another one and try again.")  # fmt: skip
    talk.state("execution_status", "error")

    talk = Talk("Find the leak in the search worker", day(2, 16), "search", CLAUDE, status="paused")
    talk.user("The worker grows by 200 MB an hour. Find out why.")
    talk.run("py-spy dump --pid 4121", "Thread 0x7f (idle): worker.py:88\n", 0, 2)
    talk.add(InterruptEvent)
    talk.state("execution_status", "paused")

    talk = Talk("Make the flaky gateway test pass", day(5, 17, 20), "gateway", QWEN, status="stuck")
    talk.user("tests/test_gateway.py fails once in ten runs. Make it reliable.")
    for _ in range(4):
        talk.run("pytest -q tests/test_gateway.py", f"{RED}1 failed{OFF}, 8 passed\n", 1, 3)
    talk.state("execution_status", "stuck")

    talk = Talk("Explain the nightly report", day(7, 6, 45), "reports", CLAUDE)
    talk.user("Why is the report of last night empty?")
    talk.run("tail -n 3 report.log", "02:00 start\n02:00 no rows for 2026-11-21\n02:00 end\n")
    talk.finish("The export of the day before came at 02:04, four minutes after the report.")


_SMALL = (
    "Add a health check to the gateway", "Cache the exchange rates", "Sort imports", "Remove the unused payment client",
    "Document the search syntax", "Speed up the invoice list", "Translate the login page", "Add types to the scheduler",
    "Retry uploads that time out", "Split the settings module", "Log slow queries", "Pin the base image",
    "Write tests for the tax rules", "Show totals per customer", "Replace moment.js", "Fix the time zone of reminders",
    "Make the logo sharp", "Bump pydantic to 2.12", "Collect metrics of the queue", "Drop Python 3.10",
)  # fmt: skip


def make_small() -> None:
    """Make short conversations, spread over sixty days, so that sums and filters have something to show."""
    workspaces = ("gateway", "billing", "frontend", "search", "scheduler", "ledger")
    for number in range(40):
        subject = _SMALL[number % len(_SMALL)]
        title = subject if number < len(_SMALL) else f"{subject}, second part"
        area = workspaces[number * 5 % len(workspaces)]
        talk = Talk(
            title, day(1 + number * 3 // 2, 7 + number * 7 % 13, number * 17 % 60), area, (CLAUDE, GPT, CLAUDE, QWEN)[number % 4],
            archived=number > 30, tags={"area": area} if number % 3 else {},
        )  # fmt: skip
        talk.user(f"{title}. Keep the change small.")
        for step in range(1 + number % 3):
            talk.run("make check", f"{GREEN}{20 + step} passed{OFF}\n", 0, 5)
            for _ in range(1 + number % 4):
                talk.call_model(round(_random.uniform(0.2, 1.4), 5))
        if number % 9 == 8:  # a model of which no cost is known
            talk.metrics = Metrics(model_name=talk.model)
        talk.finish(f"Done: {title.lower()}.")


def pack() -> None:
    """Write all conversations to the archive."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for talk in sorted(Talk.made, key=lambda one: one.id.hex):
            for name, content in sorted(talk.files().items()):
                if talk.title == "Explain the nightly report" and name.startswith("events/event-00003"):
                    content = content[:120]  # noqa: PLW2901 - the torn file, as a crash leaves it
                below = f"{talk.parent.id.hex}/subagents/" if talk.parent else ""
                entry = tarfile.TarInfo(f"conversations/{below}{talk.id.hex}/{name}")
                entry.size, entry.mtime, entry.mode = len(content), int(talk.now.timestamp()), 0o644
                archive.addfile(entry, io.BytesIO(content))
    OUTPUT.write_bytes(gzip.compress(raw.getvalue(), 9, mtime=0))
    count = sum(len(talk.events) for talk in Talk.made)
    print(f"{len(Talk.made)} conversations, {count} events, {OUTPUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    make_every_kind()
    make_pictures()
    make_acp()
    make_subagents()
    make_long()
    make_languages()
    make_unfinished()
    make_small()
    pack()
