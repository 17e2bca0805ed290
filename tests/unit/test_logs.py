"""What is written down, and what is not."""

import logging

from chatsync.gateway.server import configuration
from chatsync.settings import Settings
from chatsync.telemetry.logs import configure


def test_a_request_writes_no_line():
    configuration(None, Settings()).configure_logging()
    configure(log_format="json", log_level="INFO")

    # What uvicorn asks before it formats a line for each request.
    assert not logging.getLogger("uvicorn.access").hasHandlers()
    assert logging.getLogger("uvicorn.error").hasHandlers()
