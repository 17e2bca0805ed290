"""GET /livez, /readyz, /metrics: for machines that watch over this one."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from chatsync.telemetry import health, metrics
from chatsync.telemetry.health import Check


class Health:
    """The endpoints of a process. Liveness never asks the database: no restart mends that."""

    def __init__(self, checks: Mapping[str, Check], multiprocess_dir: str | None) -> None:
        self._checks = checks
        self._multiprocess_dir = multiprocess_dir

    async def live(self, request: Request) -> Response:
        del request
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        del request
        outcomes = await health.run(self._checks)
        is_ready = all(outcome == "ok" for outcome in outcomes.values())
        return JSONResponse(
            {"status": "ok" if is_ready else "unavailable", "checks": outcomes},
            200 if is_ready else 503,
        )

    async def metrics(self, request: Request) -> Response:
        del request
        text, content_type = metrics.render(self._multiprocess_dir)
        return Response(text, headers={"Content-Type": content_type})
