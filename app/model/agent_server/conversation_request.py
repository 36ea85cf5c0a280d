"""A request to create a conversation: all of its fields and all checks except those that need the store.

Source: the OpenAPI document of openhands-agent-server 1.58.2 (StartConversationRequest), and checks of
openhands-sdk 1.58.2 that it does not show.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from ...errors import InvalidConversation
from .agent_settings import build_agent
from .agents import LLM, AnyAgent, Condenser, PositiveInt, Skill
from .base import AtLeastOne, Guest, Positive, Strict, Text, as_object, dump, validate
from .mcp_servers import MCPServer
from .message_request import MessageRequest
from .secret_sources import SecretSource

_HOOKS = frozenset({"pre_tool_use", "post_tool_use", "user_prompt_submit", "session_start", "session_end", "stop"})
_IN_A_WORD = re.compile(r"(?<!^)(?=[A-Z])")


class LocalWorkspace(Guest):
    """A directory of the host."""

    kind: Literal["LocalWorkspace"] | None = None
    working_dir: str


class WorktreeOptions(Strict):
    """Settings of the conversation's git worktree."""

    base: Literal["default_branch", "head", "ref"] = "default_branch"
    ref: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")] | None = None
    branch_prefix: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._/-]*)?$")] = ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.base == "ref" and self.ref is None:
            raise ValueError("this kind of base ref needs a `ref`")
        return self


class AlwaysConfirm(Guest):
    """The user must confirm each action."""

    kind: Literal["AlwaysConfirm"]


class NeverConfirm(Guest):
    """The user confirms no action."""

    kind: Literal["NeverConfirm"]


class ConfirmRisky(Guest):
    """The user must confirm actions with at least this risk."""

    kind: Literal["ConfirmRisky"]
    threshold: Literal["LOW", "MEDIUM", "HIGH"] = "HIGH"
    confirm_unknown: bool = True


Policy = Annotated[AlwaysConfirm | NeverConfirm | ConfirmRisky, Field(discriminator="kind")]

_Patterns = list[tuple[str, str, str]]


class PatternSecurityAnalyzer(Guest):
    """Rates the risk of an action by regular expressions."""

    kind: Literal["PatternSecurityAnalyzer"]
    high_patterns: _Patterns = []
    medium_patterns: _Patterns = []
    injection_high_patterns: _Patterns = []
    injection_medium_patterns: _Patterns = []


class PolicyRailSecurityAnalyzer(Guest):
    """Rates the risk of an action by fixed rules."""

    kind: Literal["PolicyRailSecurityAnalyzer"]


class EnsembleSecurityAnalyzer(Guest):
    """Combines several analyzers."""

    kind: Literal["EnsembleSecurityAnalyzer"]
    analyzers: Annotated[list[Analyzer], Field(min_length=1)]
    propagate_unknown: bool = False


class GraySwanAnalyzer(Guest):
    """Has the Gray Swan server rate the risk of an action."""

    kind: Literal["GraySwanAnalyzer"]
    history_limit: int = 20
    max_message_chars: int = 30000
    timeout: float = 30
    low_threshold: float = 0.3
    medium_threshold: float = 0.7
    api_url: str = ""
    api_key: str | None = None
    policy_id: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low_threshold >= self.medium_threshold:
            raise ValueError("low_threshold must be less than medium_threshold")
        return self


class LLMSecurityAnalyzer(Guest):
    """Has the agent's model rate the risk of an action."""

    kind: Literal["LLMSecurityAnalyzer"]


class ToolShieldLLMSecurityAnalyzer(Guest):
    """Has a separate model rate the risk of an action."""

    kind: Literal["ToolShieldLLMSecurityAnalyzer"]
    llm: LLM
    history_window: AtLeastOne = 20
    safety_experiences: str = ""


Analyzer = Annotated[
    PatternSecurityAnalyzer
    | PolicyRailSecurityAnalyzer
    | EnsembleSecurityAnalyzer
    | GraySwanAnalyzer
    | LLMSecurityAnalyzer
    | ToolShieldLLMSecurityAnalyzer,
    Field(discriminator="kind"),
]


def _check_object_schema(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("type") != "object":
        raise ValueError("the parameters of a tool must be a JSON schema with the type object")
    return schema


class ToolAnnotations(Guest):
    """Hints about the effects of a tool, such as whether it only reads."""

    title: str | None = None
    readOnlyHint: bool = False  # noqa: N815 - as the Model Context Protocol spells it
    destructiveHint: bool = True  # noqa: N815
    idempotentHint: bool = False  # noqa: N815
    openWorldHint: bool = True  # noqa: N815


class ClientTool(Guest):
    """A tool that the client, not agent-server, runs."""

    name: Text
    description: str
    parameters: Annotated[dict[str, Any], AfterValidator(_check_object_schema)] = {}
    annotations: ToolAnnotations | None = None


class Hook(Guest):
    """A command or prompt that runs on an event, such as the use of a tool."""

    type: Literal["command", "prompt", "agent"] = "command"
    name: str | None = None
    command: str = ""
    prompt: str | None = None
    system_prompt: str | None = None
    tools: list[str] = []
    timeout: int = 60
    max_iterations: int = 3
    asynchronous: Annotated[bool, Field(alias="async")] = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.type == "command" and not self.command:
            raise ValueError("a hook of the type command needs a command")
        if self.type == "prompt" and not self.prompt:
            raise ValueError("a hook of the type prompt needs a prompt")
        if self.type != "command" and (self.command or self.asynchronous):
            raise ValueError(f"a hook of the type {self.type} must not have a command or be async")
        return self


class HookMatcher(Guest):
    """Hooks for some tools."""

    matcher: str = "*"
    hooks: list[Hook] = []


class Hooks(Strict):
    """Hooks by event. The names may be written as `PreToolUse`, and all may be inside one object `hooks`."""

    pre_tool_use: list[HookMatcher] = []
    post_tool_use: list[HookMatcher] = []
    user_prompt_submit: list[HookMatcher] = []
    session_start: list[HookMatcher] = []
    session_end: list[HookMatcher] = []
    stop: list[HookMatcher] = []

    @model_validator(mode="before")
    @classmethod
    def _read(cls, fields: object) -> object:
        inner = as_object(fields).get("hooks", fields)
        if not isinstance(inner, dict):
            return inner
        spelled = [_IN_A_WORD.sub("_", name).lower() for name in inner]
        if len(set(spelled)) < len(spelled):
            raise ValueError("an event of the hooks is named twice")
        return dict(zip(spelled, inner.values(), strict=True))


class AgentDefinition(Guest):
    """A sub-agent to which the agent can give tasks."""

    name: str
    description: str = ""
    model: str = ""
    color: str | None = None
    tools: list[str] = []
    skills: list[str] = []
    system_prompt: str = ""
    source: str | None = None
    level: Literal["project", "user", "builtin", "plugin", "programmatic"] | None = None
    when_to_use_examples: list[str] = []
    hooks: Hooks | None = None
    permission_mode: str | None = None
    max_iteration_per_run: PositiveInt | None = None
    max_budget_per_run: Positive | None = None
    mcp_config: dict[str, MCPServer] | None = None
    profile_store_dir: str | None = None
    condenser: Condenser | None = None
    metadata: dict[str, Any] = {}


def _check_repository_path(path: str) -> str:
    if path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise ValueError("the path must be relative, and without '..'")
    return path


class Plugin(Guest):
    """The source of a plugin."""

    source: str
    ref: str | None = None
    repo_path: Annotated[str, AfterValidator(_check_repository_path)] | None = None


class LaunchAdditions(Strict):
    """Texts and skills that are added to the agent when the conversation starts."""

    system_message_suffix_append: Annotated[str, Field(max_length=32768)] | None = None
    skills: list[Skill] | None = None
    llm_profile_ref: Text | None = None

    @field_validator("llm_profile_ref")
    @classmethod
    def _check_profile(cls, name: str | None) -> str | None:
        if name is not None:
            raise ValueError("llm_profile_ref needs an agent_profile_id")
        return name


class Container(Strict):
    """Settings of a container in which another runtime runs the conversation. A local conversation has no container."""

    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)? ?[kKmMgGtTpP]?[iI]?[bB]?$")] | None = None
    cpus: Annotated[float, Field(ge=0.01)] | None = None
    browser: bool = True


_SCALARS = (str, bool, int, float)


def _check_metadata(value: object) -> object:
    if value is None:
        return {}
    for name, one in as_object(value).items():
        kinds = {type(item) for item in one} if isinstance(one, list) else {type(one)}
        if not name or len(kinds) > 1 or not kinds <= set(_SCALARS):
            raise ValueError("each value of the metadata must be a scalar, or a list of scalars of one type")
    return value


def _empty_list_if_null(value: object) -> object:
    return [] if value is None else value


def _empty_if_null(value: object) -> object:
    return {} if value is None else value


def _span_if_null(value: object) -> object:
    return "conversation" if value is None else value


class ConversationRequest(Guest):
    """A StartConversationRequest without its tags and title. Its agent may be built from its agent settings."""

    workspace: LocalWorkspace
    worktree: bool = False
    worktree_options: WorktreeOptions | None = None
    conversation_id: UUID | None = None
    parent_conversation_id: UUID | None = None
    confirmation_policy: Policy = NeverConfirm(kind="NeverConfirm")
    security_analyzer: Analyzer | None = None
    initial_message: MessageRequest | None = None
    max_iterations: AtLeastOne = 500
    stuck_detection: bool = True
    secrets: dict[str, SecretSource] = {}
    secrets_encrypted: bool = False
    tool_module_qualnames: dict[str, str] = {}
    client_tools: list[ClientTool] = []
    agent_launch_additions: LaunchAdditions | None = None
    agent_definitions: list[AgentDefinition] = []
    plugins: list[Plugin] | None = None
    hook_config: Hooks | None = None
    tags: Annotated[dict[str, str], BeforeValidator(_empty_if_null)] = {}
    user_id: str | None = None
    observability_metadata: Annotated[dict[str, Any], BeforeValidator(_check_metadata)] = {}
    observability_tags: Annotated[list[Text], BeforeValidator(_empty_list_if_null)] = []
    observability_span_name: Annotated[
        str, Field(max_length=128, pattern=r"^[A-Za-z0-9._:/-]+$"), BeforeValidator(_span_if_null)
    ] = "conversation"
    observability_parent_span_context: str | None = None
    autotitle: bool = True
    title_llm_profile: str | None = None
    prompt: Annotated[str, Field(max_length=2000)] | None = None
    agent_settings: dict[str, Any] | None = None
    agent_profile_id: None = None
    agent: AnyAgent
    conversation_runtime: Literal["local"] | None = None
    container: Container | None = None
    title: str | None = None


_SERVER_TOOLS = frozenset({
    "ClassifyAndSwitchLLMTool", "ask_oracle", "browser_tool_set", "edit", "file_editor", "glob", "grep",
    "list_directory", "planning_file_editor", "read_file", "start_child_conversation", "task", "task_tool_set",
    "task_tracker", "terminal", "workflow", "workflow_tool_set", "write_file",
})  # fmt: skip
"""The built-in tools of 1.58.2. It refuses or cannot open a conversation with a client tool of the same name."""


def read_request(request: Mapping[str, Any], now: str) -> dict[str, Any]:
    """Return a request as agent-server reads it, with the agent of the new conversation.

    `now` is the start time for the agent's context.

    Raises:
        InvalidConversation: agent-server would refuse the request, or could not open the new conversation.
    """
    given = {name: value for name, value in request.items() if value is not None or name not in _SOURCES}
    agent = given.get("agent")
    if agent is None and isinstance(given.get("agent_settings"), dict):
        given["agent"] = build_agent(given["agent_settings"], now)
    elif isinstance(agent, dict) and "llm" in agent:
        given["agent"] = {"kind": "Agent", **agent}
    accepted = validate(ConversationRequest, given)
    read = dump(accepted)
    _check_tools(read.get("client_tools", []))
    if accepted.initial_message is not None:
        read["initial_message"] = accepted.initial_message.model_dump(mode="json")
    return read | {"agent": _launch(read)}


_NOT_FOR_ACP: dict[str, Any] = {
    "skills": [],
    "load_user_skills": False,
    "load_public_skills": False,
    "load_project_skills": False,
    "registered_marketplaces": [],
}
_SOURCES = ("agent", "agent_settings")


def _check_tools(tools: list[dict[str, Any]]) -> None:
    names = [tool["name"] for tool in tools]
    taken = sorted({name for name in names if name in _SERVER_TOOLS or names.count(name) > 1})
    if taken:
        raise InvalidConversation(f"client_tools: {', '.join(taken)} is the name of another tool")


def _launch(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the agent with the request's additions: a suffix, skills, and the client's tools."""
    agent: dict[str, Any] = dict(request["agent"])
    additions = as_object(request.get("agent_launch_additions"))
    context: dict[str, Any] = agent.get("agent_context") or {"current_datetime": None}
    changed: dict[str, Any] = {}
    appended = (additions.get("system_message_suffix_append") or "").strip()
    if appended:
        before = (context.get("system_message_suffix") or "").strip()
        changed["system_message_suffix"] = f"{before}\n\n{appended}" if before else appended
    taken = {skill["name"] for skill in context.get("skills", [])} | set(context.get("disabled_skills", []))
    added = {skill["name"]: skill for skill in reversed(additions.get("skills") or []) if skill["name"] not in taken}
    if added:
        changed["skills"] = [*context.get("skills", []), *reversed(added.values())]
    if agent["kind"] == "ACPAgent":  # an ACP program reads its own skills, so agent-server passes none to it
        changed |= {name: empty for name, empty in _NOT_FOR_ACP.items() if context.get(name) or name in changed}
    if changed:
        agent["agent_context"] = context | changed
    own = {tool["name"] for tool in agent.get("tools", [])}
    tools = [tool for tool in request.get("client_tools", []) if tool["name"] not in own]
    if tools:
        agent["tools"] = [*agent.get("tools", []), *({"name": one["name"], "params": {"spec": one}} for one in tools)]
    return agent
