"""The agent of a conversation: its model, tools, context, condenser and critic.

Source: the OpenAPI document of openhands-agent-server 1.58.2, and checks of openhands-sdk 1.58.2 that it does not show.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from .base import (
    AtLeastOne,
    Guest,
    OpenShare,
    Parameters,
    RelativePath,
    Share,
    Text,
)
from .mcp_servers import MCPServer, read_servers
from .secret_sources import SecretSource

NotNegative = Annotated[int, Field(ge=0)]
NotNegativeNumber = Annotated[float, Field(ge=0)]
PositiveInt = Annotated[int, Field(gt=0)]


class FallbackStrategy(Guest):
    """The models to use instead if one fails."""

    fallback_llms: list[str]
    profile_store_dir: str | None = None


class LLM(Guest):
    """A language model, its address, and the parameters of its calls."""

    model: Text
    api_key: str | None = None
    provider_connection_id: str | None = None
    auth_type: Literal["api_key", "subscription"] = "api_key"
    subscription_vendor: Literal["openai"] | None = None
    base_url: str | None = None
    api_version: str | None = None
    aws_access_key_id: str | None = None
    aws_secret_access_key: str | None = None
    aws_session_token: str | None = None
    aws_region_name: str | None = None
    aws_profile_name: str | None = None
    aws_role_name: str | None = None
    aws_session_name: str | None = None
    aws_bedrock_runtime_endpoint: str | None = None
    openrouter_site_url: str = ""
    openrouter_app_name: str = ""
    num_retries: NotNegative = 0
    retry_multiplier: NotNegativeNumber = 0
    retry_min_wait: NotNegative = 0
    retry_max_wait: NotNegative = 0
    timeout: NotNegative | None = None
    stream_idle_timeout: NotNegativeNumber | None = None
    max_message_chars: AtLeastOne = 1
    temperature: NotNegativeNumber | None = None
    top_p: Share | None = None
    top_k: NotNegativeNumber | None = None
    max_input_tokens: AtLeastOne | None = None
    max_output_tokens: AtLeastOne | None = None
    model_canonical_name: str | None = None
    api_mode: Literal["auto", "chat", "responses"] = "auto"
    capability_overrides: dict[str, bool | str] = {}
    extra_headers: dict[str, str] | None = None
    input_cost_per_token: NotNegativeNumber | None = None
    output_cost_per_token: NotNegativeNumber | None = None
    ollama_base_url: str | None = None
    stream: bool = False
    drop_params: bool = True
    disable_vision: bool | None = None
    disable_stop_word: bool | None = None
    caching_prompt: bool = True
    log_completions: bool = False
    log_completions_folder: str = ""
    custom_tokenizer: str | None = None
    native_tool_calling: bool = True
    force_string_serializer: bool | None = None
    inline_image_urls: bool | None = None
    reasoning_effort: Literal["low", "medium", "high", "xhigh", "none"] | None = None
    reasoning_summary: Literal["auto", "concise", "detailed"] | None = None
    enable_encrypted_reasoning: bool = True
    prompt_cache_retention: str | None = None
    extended_thinking_budget: int | None = None
    seed: int | None = None
    usage_id: str = ""
    litellm_extra_body: dict[str, Any] = {}
    fallback_strategy: FallbackStrategy | None = None


class Tool(Guest):
    """A tool by its name."""

    name: Text
    params: Parameters = {}

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not name.strip():
            raise ValueError("the name of a tool must not be blank")
        return name


class KeywordTrigger(Guest):
    """Activates a skill when a message has one of these words."""

    type: Literal["keyword"] = "keyword"
    keywords: list[str]


class TaskTrigger(Guest):
    """Activates a skill for a task."""

    type: Literal["task"] = "task"
    triggers: list[str]


class PathTrigger(Guest):
    """Activates a skill for files with these paths."""

    type: Literal["path"] = "path"
    paths: list[str]


Trigger = Annotated[KeywordTrigger | TaskTrigger | PathTrigger, Field(discriminator="type")]


class SkillInput(Guest):
    """A parameter of a skill."""

    name: str
    description: str


class SkillResources(Guest):
    """The files that belong to a skill."""

    skill_root: str
    scripts: list[str] = []
    references: list[str] = []
    assets: list[str] = []


def _split_words(value: object) -> object:
    if isinstance(value, str):
        return value.split()
    return [str(one) for one in value] if isinstance(value, list) else value


def _as_texts(value: object) -> object:
    return {name: str(one) for name, one in value.items()} if isinstance(value, dict) else value


def _read_servers_if_set(value: object) -> object:
    return None if value is None else read_servers(value)


class Skill(Guest):
    """A text that an agent may use, always or when it is triggered."""

    name: str
    content: str
    trigger: Trigger | None = None
    source: str | None = None
    mcp_tools: Annotated[dict[str, MCPServer] | None, BeforeValidator(_read_servers_if_set)] = None
    inputs: list[SkillInput] = []
    is_agentskills_format: bool = False
    version: str = ""
    description: str | None = None
    license: str | None = None
    compatibility: str | None = None
    metadata: Annotated[dict[str, str] | None, BeforeValidator(_as_texts)] = None
    allowed_tools: Annotated[list[str] | None, BeforeValidator(_split_words)] = None
    disable_model_invocation: bool = False
    resources: SkillResources | None = None


class Marketplace(Guest):
    """A source of skills."""

    name: str
    source: str
    ref: str | None = None
    repo_path: RelativePath | None = None
    auto_load: bool | list[str] = False


def _check_names(skills: list[Skill]) -> list[Skill]:
    names = [skill.name for skill in skills]
    if len(set(names)) < len(names):
        raise ValueError("two skills have the same name")
    return skills


class AgentContext(Guest):
    """The context of an agent: skills, and texts that are added to its prompts."""

    skills: Annotated[list[Skill], AfterValidator(_check_names)] = []
    system_message_suffix: str | None = None
    user_message_suffix: str | None = None
    load_user_skills: bool = False
    load_public_skills: bool = False
    marketplace_path: str | None = None
    registered_marketplaces: list[Marketplace] = []
    load_project_skills: bool = False
    load_memory: bool = False
    memory_context: str | None = None
    disabled_skills: list[str] = []
    secrets: dict[str, str | SecretSource] | None = None
    current_datetime: datetime | str | None = None


class NoOpCondenser(Guest):
    """Condenses nothing."""

    kind: Literal["NoOpCondenser"]


class LLMSummarizingCondenser(Guest):
    """Replaces old events by a summary that a model writes."""

    kind: Literal["LLMSummarizingCondenser"]
    llm: LLM
    max_size: PositiveInt = 240
    max_tokens: int | None = None
    keep_first: NotNegative = 2
    minimum_progress: OpenShare = 0.1
    hard_context_reset_max_retries: PositiveInt = 5
    hard_context_reset_context_scaling: OpenShare = 0.8

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_size // 2 - self.keep_first - 1 <= 0:
            raise ValueError("keep_first must be less than max_size // 2 - 1")
        return self


class PipelineCondenser(Guest):
    """Several condensers, one after the other."""

    kind: Literal["PipelineCondenser"]
    condensers: list[Condenser]


Condenser = Annotated[NoOpCondenser | LLMSummarizingCondenser | PipelineCondenser, Field(discriminator="kind")]


def _null_if_empty(value: object) -> object:
    return value or None


CriticMode = Literal["finish_and_message", "all_actions"]


class Refinement(Guest):
    """How often an agent may improve its work after a critic rejected it."""

    success_threshold: Share = 0.6
    max_iterations: AtLeastOne = 3


class _Critic(Guest):
    mode: CriticMode = "finish_and_message"
    iterative_refinement: Refinement | None = None


class AgentFinishedCritic(_Critic):
    """Accepts the work if the agent finished."""

    kind: Literal["AgentFinishedCritic"]


class EmptyPatchCritic(_Critic):
    """Accepts the work if the agent changed a file."""

    kind: Literal["EmptyPatchCritic"]


class PassCritic(_Critic):
    """Accepts everything."""

    kind: Literal["PassCritic"]


class APIBasedCritic(_Critic):
    """Asks a server. `api_key` is required, but may be null."""

    kind: Literal["APIBasedCritic"]
    server_url: str = ""
    api_key: Annotated[str | None, BeforeValidator(_null_if_empty)]
    model_name: str = ""
    tokenizer_name: str = ""
    pass_tools_definitions: bool = True
    timeout_seconds: float = 300
    has_success_label: bool = True
    sentiment_labels: list[str] = []
    agent_issue_labels: list[str] = []
    infra_labels: list[str] = []
    user_followup_labels: list[str] = []
    sentiment_map: dict[str, str] = {}
    issue_threshold: Share = 0.75


Critic = Annotated[AgentFinishedCritic | APIBasedCritic | EmptyPatchCritic | PassCritic, Field(discriminator="kind")]

_SYSTEM_PROMPT = "system_prompt.j2"


def _empty_text_if_null(value: object) -> object:
    return "" if value is None else value


class _Agent(Guest):
    tools: list[Tool] = []
    mcp_config: dict[str, MCPServer] = {}
    filter_tools_regex: str | None = None
    include_default_tools: list[str] = []
    agent_context: AgentContext | None = None
    system_prompt: str | None = None
    system_prompt_filename: str = _SYSTEM_PROMPT
    security_policy_filename: Annotated[str, BeforeValidator(_empty_text_if_null)] = ""
    system_prompt_kwargs: dict[str, Any] = {}
    condenser: Condenser | None = None
    critic: Critic | None = None
    tool_concurrency_limit: AtLeastOne = 1

    @model_validator(mode="after")
    def _check_prompt(self) -> Self:
        if self.system_prompt is not None and self.system_prompt_filename != _SYSTEM_PROMPT:
            raise ValueError("give an agent a system_prompt or a system_prompt_filename, not both")
        return self


class Agent(_Agent):
    """An agent that OpenHands runs with a model."""

    kind: Literal["Agent"]
    llm: LLM
    persona: str | None = None


def _check_basename(name: str) -> str:
    if "/" in name or "\\" in name or name in (".", ".."):
        raise ValueError("this must be the name of a file, without a directory")
    return name


def _check_folder(path: str) -> str:
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or path.strip() in ("", "."):
        raise ValueError("the path of a folder must be relative and without '..'")
    return path


class ACPFileSecret(Guest):
    """A secret that an agent reads from a file."""

    secret_name: Text
    filename: Annotated[Text, AfterValidator(_check_basename)]
    env_var: Text
    subdir: Annotated[Text, AfterValidator(_check_folder)]
    env_points_to: Literal["dir", "file"] = "file"
    warn_if_unset: list[str] = []


class ACPAgent(_Agent):
    """An agent that another program runs, over the Agent Client Protocol."""

    kind: Literal["ACPAgent"]
    llm: LLM | None = None
    acp_command: list[str]
    acp_server: str | None = None
    acp_args: list[str] = []
    acp_session_mode: str | None = None
    acp_prompt_timeout: float = 1800
    acp_startup_timeout: float = 90
    acp_model: str | None = None
    acp_resume_session_id: Annotated[str | None, BeforeValidator(_null_if_empty)] = None
    acp_file_secrets: list[ACPFileSecret] = []
    acp_isolate_data_dir: bool = False

    @field_validator("llm", mode="before")
    @classmethod
    def _check_llm(cls, value: object) -> object:
        if value is None:
            raise ValueError("llm must be an object; leave it out for the default")
        return value


AnyAgent = Annotated[Agent | ACPAgent, Field(discriminator="kind")]
