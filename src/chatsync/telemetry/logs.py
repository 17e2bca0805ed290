"""Logs: structlog for ours, one handler for everybody's, no secret in any line.

Event names are snake_case and past tense. Message texts, tokens and bodies are never logged.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_SECRET_KEYS = frozenset(
    {"authorization", "token", "apikey", "api_key", "secret", "password", "x-hub-signature-256"}
)
_JWT = re.compile(r"eyJ[\w-]{5,}\.[\w-]+\.[\w-]*")
_QUERY_STRING = re.compile(r"\?[^\s\"']+")
# What uvicorn says of a socket's life, which our own lines tell better, and of a frame that is no
# UTF-8, with a traceback for something that is the client's fault.
_NO_NEWS = frozenset(
    {"connection open", "connection closed", "Invalid UTF-8 sequence received from client."}
)


def configure(*, log_format: str, log_level: str) -> None:
    """Set up logging for the process; `log_format` is console or json."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _redact,
    ]
    renderer = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(log_level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        # A line for each request would cost more than the request.
        logging.getLogger(name).propagate = name != "uvicorn.access"
    # uvicorn tells at INFO of every socket it opens, with the whole URL; our own lines say more.
    logging.getLogger("uvicorn.error").addFilter(_without_query_strings)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


def _without_query_strings(record: logging.LogRecord) -> bool:
    record.msg = _QUERY_STRING.sub("?…", record.getMessage())
    record.args = None
    return "[accepted]" not in record.msg and record.msg not in _NO_NEWS


def _redact(
    _logger: object, _name: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if key.lower() in _SECRET_KEYS:
            event[key] = "…"
        elif isinstance(value, str) and "eyJ" in value:
            event[key] = _JWT.sub("…", value)
    return event
