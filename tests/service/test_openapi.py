"""Whatever the OpenAPI document allows, and what it forbids, is answered as it says."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import openapi
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import contracts
from service.harness import Gateway, token

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# How it makes its requests up is not what is tested.
UNIMPORTANT = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)
# Its answer does not end.
STREAM = "/api/events/stream"
SCHEMA = openapi.from_path(contracts.DOCS / "openapi.yaml")
OPERATIONS: dict[str, Any] = {
    f"{found.ok().method.upper()} {found.ok().path}": found.ok()
    for found in SCHEMA.get_all_operations()
    if isinstance(found, Ok) and found.ok().path != STREAM
}


def test_every_operation_is_tried() -> None:
    paths = contracts.openapi()["paths"]
    documented = {f"{m.upper()} {path}" for path, each in paths.items() for m in each}
    assert set(OPERATIONS) == documented - {f"GET {STREAM}"}


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
async def test_any_request_is_answered_as_documented(
    gateway: Gateway, mode: GenerationMode
) -> None:
    problems: dict[str, str] = {}
    for name, operation in OPERATIONS.items():
        try:
            await asyncio.to_thread(tried, gateway, operation, mode)
        except Unsatisfiable:
            # Nothing that it takes can be wrong.
            assert mode is GenerationMode.NEGATIVE, name
        except (FailureGroup, ExceptionGroup) as error:
            problems[name] = "\n".join(str(each) for each in error.exceptions)
    assert problems == {}


def tried(gateway: Gateway, operation: Any, mode: GenerationMode) -> None:
    """Make some requests, the same each time. Raises FailureGroup with what is not documented."""
    headers = {"Authorization": f"Bearer {token(role='service')}"}

    @seed(1)
    @settings(
        max_examples=20,
        database=None,
        deadline=None,
        suppress_health_check=UNIMPORTANT,
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        case.call_and_validate(base_url=gateway.address, headers=headers, checks=CHECKS)

    run()
