"""Routes of agent-server that need an agent. convstore runs no agents, so they answer 501."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.errors import ErrorBody
from app.api.params import IdInPath
from app.errors import NeedsAgent

router = APIRouter(
    prefix="/api/conversations", tags=["writing"], responses={409: {"model": ErrorBody}, 422: {"model": ErrorBody}}
)

NO_AGENT = (
    "convstore stores conversations and runs no agents: send this request to an agent-server, "
    "or omit `run` to append the message"
)
_AGENT_ROUTES = (
    "run", "pause", "interrupt", "goal", "goal/stop", "goal/resume", "secrets", "confirmation_policy",
    "security_analyzer", "switch_profile", "switch_llm", "load_plugin", "switch_acp_model", "ask_agent", "condense",
    "children", "generate_title", "runtime/reprovision", "events/respond_to_confirmation",
)  # fmt: skip


async def refuse(conversation_id: IdInPath) -> None:  # noqa: ARG001
    """Answer 501, because this request needs an agent and convstore runs none."""
    raise NeedsAgent(NO_AGENT)


for _name in _AGENT_ROUTES:
    router.add_api_route(
        f"/{{conversation_id}}/{_name}", refuse, methods=["POST"], responses={501: {"model": ErrorBody}},
        operation_id=f"refuse_{_name.replace('/', '_')}", status_code=501,
    )  # fmt: skip
