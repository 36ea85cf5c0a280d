"""Agent settings, and the agent that agent-server 1.58.2 builds from them.

Source: openhands-sdk 1.58.2, the models OpenHandsAgentSettings and ACPAgentSettings (settings/model.py), the ACP
providers (settings/acp_providers.py), and the built-in tools (tool/builtins).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ...errors import InvalidConversation
from .agents import (
    LLM,
    ACPFileSecret,
    AgentContext,
    CriticMode,
    NotNegative,
    PositiveInt,
    Tool,
)
from .base import AtLeastOne, Guest, OpenShare, Positive, Share, as_object, dump, validate
from .mcp_servers import MCPServer, read_servers

_REMOVED = ("enable_sub_agents", "enable_switch_llm_tool")
_STANDARD_TOOLS = ("terminal", "file_editor", "task_tracker", "switch_llm")
_DEFAULT_BUILT_INS = ("FinishTool", "ThinkTool")
_ROUTER = "ClassifyAndSwitchLLMTool"
_BUILT_INS = {
    "finish": "FinishTool",
    "think": "ThinkTool",
    "invoke_skill": "InvokeSkillTool",
    "switch_llm": "SwitchLLMTool",
    "inspect_image_with_vision": "VisionInspectTool",
}
_NPX = ("npx", "-y", "--prefer-offline")
_COMMANDS: dict[str, tuple[str, ...]] = {
    "claude-code": (*_NPX, "@agentclientprotocol/claude-agent-acp@0.63.0"),
    "codex": (*_NPX, "@agentclientprotocol/codex-acp@1.10.0"),
    "gemini-cli": (*_NPX, "@google/gemini-cli@0.46.0", "--acp"),
    "kimi-code": (*_NPX, "@moonshot-ai/kimi-code@0.38.0", "acp"),
    "pi": (*_NPX, "--package=pi-acp@0.0.33", "--package=@earendil-works/pi-coding-agent@0.83.0", "pi-acp"),
    "opencode": (*_NPX, "opencode-ai@1.18.23", "acp"),
}


class CondenserSettings(Guest):
    """Settings of the condenser, which replaces old events by a summary."""

    enabled: bool = True
    condenser_kind: Literal["llm_summarizing", "no_op"] = "llm_summarizing"
    max_size: Annotated[int, Field(ge=20)] = 240
    max_tokens: PositiveInt | None = None
    keep_first: NotNegative = 2
    minimum_progress: OpenShare = 0.1
    hard_context_reset_max_retries: PositiveInt = 5
    hard_context_reset_context_scaling: OpenShare = 0.8


class VerificationSettings(Guest):
    """Settings of the critic, which rates the work of the agent."""

    critic_enabled: bool = False
    critic_mode: CriticMode = "finish_and_message"
    enable_iterative_refinement: bool = False
    critic_threshold: Share = 0.6
    max_refinement_iterations: AtLeastOne = 3
    critic_server_url: str | None = None
    critic_model_name: str | None = None
    critic_api_key: str | None = None


class _Settings(Guest):
    schema_version: Literal[9] | None = None  # the newest version that 1.58.2 reads; it would rewrite older ones
    mcp_config: Annotated[dict[str, MCPServer], BeforeValidator(read_servers)] = {}


class OpenHandsSettings(_Settings):
    """The settings of an agent of the kind `Agent`."""

    agent_kind: Literal["openhands", "llm"] = "openhands"
    agent: str = ""
    llm: LLM = LLM(model="gpt-5.6")
    tools: list[Tool] | None = None
    enable_classify_and_switch_llm_tool: bool = False
    active_meta_profile: str | None = None
    tool_concurrency_limit: AtLeastOne = 1
    persona: Annotated[str, Field(min_length=1, max_length=65536)] | None = None
    agent_context: AgentContext = AgentContext()
    condenser: CondenserSettings = CondenserSettings()
    verification: VerificationSettings = VerificationSettings()

    @field_validator("llm")
    @classmethod
    def _check_login(cls, llm: LLM) -> LLM:
        if llm.auth_type == "subscription":
            raise ValueError("only an agent-server that is logged in starts an agent with a subscription")
        return llm


class ACPSettings(_Settings):
    """The settings of an agent of the kind `ACPAgent`."""

    agent_kind: Literal["acp"]
    acp_server: Literal["claude-code", "codex", "gemini-cli", "kimi-code", "pi", "opencode", "custom"] = "claude-code"
    acp_command: list[str] = []
    acp_args: list[str] = []
    acp_model: str | None = None
    acp_session_mode: str | None = None
    acp_prompt_timeout: Positive = 1800
    acp_startup_timeout: Positive = 90
    acp_isolate_data_dir: bool = False
    acp_file_secrets: list[ACPFileSecret] = []
    agent_context: AgentContext | None = None
    llm: None = None

    @model_validator(mode="after")
    def _check_command(self) -> Self:
        if self.acp_server == "custom" and not self.acp_command:
            raise ValueError("the acp_server `custom` needs an acp_command")
        return self


def build_agent(settings: Mapping[str, Any], now: str) -> dict[str, Any]:
    """Return the agent that agent-server builds from these settings. `now` is the start time for the agent's context.

    Raises:
        InvalidConversation: the settings are invalid, or their version is not the one of 1.58.2.
    """
    removed = [name for name in _REMOVED if name in settings]
    if removed:
        raise InvalidConversation(
            f"agent_settings: {', '.join(removed)} is not a setting any more; list the tools in `tools`"
        )
    where = ("agent_settings",)
    if settings.get("agent_kind") == "acp":
        if "llm" in settings:
            raise InvalidConversation("agent_settings: settings of the kind acp have no llm; use acp_model")
        return _build_acp(validate(ACPSettings, settings, where), now)
    return _build_openhands(validate(OpenHandsSettings, settings, where), now)


def _build_acp(settings: ACPSettings, now: str) -> dict[str, Any]:
    given = dump(settings)
    named = ("acp_args", "acp_model", "acp_session_mode", "acp_prompt_timeout", "acp_startup_timeout")
    kept = (*named, "acp_isolate_data_dir", "acp_file_secrets", "mcp_config")
    agent: dict[str, Any] = {name: given[name] for name in kept if name in given}
    agent |= {
        "acp_command": settings.acp_command or list(_COMMANDS[settings.acp_server]),
        "acp_server": settings.acp_server,
        "agent_context": _context(given.get("agent_context"), now),
        "llm": {"model": settings.acp_model or "acp-managed", "usage_id": "acp-managed"},
        "kind": "ACPAgent",
    }
    return agent


def _build_openhands(settings: OpenHandsSettings, now: str) -> dict[str, Any]:
    given = dump(settings)
    llm = {name: value for name, value in as_object(given.get("llm")).items() if name != "modify_params"}
    llm = llm or {"model": settings.llm.model}
    tools, built_in = _choose_tools(settings)
    agent: dict[str, Any] = {
        name: given[name] for name in ("mcp_config", "persona", "tool_concurrency_limit") if name in given
    }
    agent |= {
        "llm": llm,
        "tools": tools,
        "include_default_tools": built_in,
        "agent_context": _context(given.get("agent_context", {}), now),
        "system_prompt_kwargs": {"llm_security_analyzer": True},
        "condenser": _make_condenser(settings.condenser, as_object(given.get("condenser")), llm),
        "critic": _make_critic(settings.verification, llm.get("api_key")),
        "kind": "Agent",
    }
    return agent


def _context(context: dict[str, Any] | None, now: str) -> dict[str, Any] | None:
    """Return a context that says when the agent started, unless its time is null."""
    if context is None or context.get("current_datetime", now) is None:
        return context
    return context | {"current_datetime": now}


def _choose_tools(settings: OpenHandsSettings) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the tools, each named once, and the built-in ones that need no parameters."""
    named = [Tool(name=name) for name in _STANDARD_TOOLS] if settings.tools is None else settings.tools
    by_name: dict[str, dict[str, Any]] = {}
    classes = {name: tool for tool, name in _BUILT_INS.items()}
    for tool in named:
        name = classes.get(tool.name, tool.name)
        if name not in by_name or (tool.params and not by_name[name]):
            by_name[name] = tool.params
    tools, built_in = [], list(_DEFAULT_BUILT_INS)
    for name, params in by_name.items():
        built = _BUILT_INS.get(name)
        if built is None:
            tools.append({"name": name, "params": params})
        elif params:
            tools.append({"name": built, "params": params})
            built_in = [one for one in built_in if one != built]
        elif built not in built_in:
            built_in.append(built)
    if settings.enable_classify_and_switch_llm_tool:
        active = {"active_meta_profile": settings.active_meta_profile} if settings.active_meta_profile else {}
        tools = [tool for tool in tools if tool["name"] != _ROUTER] + [{"name": _ROUTER, "params": active}]
    return tools, built_in


def _make_condenser(
    settings: CondenserSettings, given: Mapping[str, Any], llm: Mapping[str, Any]
) -> dict[str, Any] | None:
    if not settings.enabled:
        return None
    if settings.condenser_kind == "no_op":
        return {"kind": "NoOpCondenser"}
    told = {name: value for name, value in given.items() if name not in ("enabled", "condenser_kind")}
    told = {name: value for name, value in told.items() if value is not None and name in CondenserSettings.model_fields}
    return {**told, "llm": {**llm, "usage_id": "condenser"}, "kind": "LLMSummarizingCondenser"}


def _make_critic(settings: VerificationSettings, llm_key: str | None) -> dict[str, Any] | None:
    key = settings.critic_api_key or llm_key
    if not settings.critic_enabled or not key:
        return None
    refinement = {"success_threshold": settings.critic_threshold, "max_iterations": settings.max_refinement_iterations}
    told = {"server_url": settings.critic_server_url, "model_name": settings.critic_model_name}
    return {name: value for name, value in told.items() if value is not None} | {
        "api_key": key,
        "mode": settings.critic_mode,
        "iterative_refinement": refinement if settings.enable_iterative_refinement else None,
        "kind": "APIBasedCritic",
    }
