"""GET /metrics for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from ..metrics import Metrics, measure_store
from ..params import Store

router = APIRouter(tags=["server"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def get_metrics(request: Request, store: Store) -> Response:
    """Return the metrics."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.render(await measure_store(store)), media_type=CONTENT_TYPE_LATEST)
