"""The contracts are valid documents, and name what the code knows and nothing else."""

import ast
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft7Validator, Draft202012Validator, ValidationError
from openapi_spec_validator import validate
from starlette.applications import Starlette
from starlette.routing import Route

import contracts
from chatsync import errors, gateway
from chatsync.gateway import requests
from chatsync.gateway.app import create
from chatsync.gateway.http.publishing import OWN_TYPES
from chatsync.model import CloseCode
from service.harness import settings_for

TESTS = Path(__file__).parents[1]
# Part of the protocol, and of the contract, before the server has them.
COMING_FROM_CLIENTS = frozenset[str]()
COMING_FROM_SERVER = frozenset[str]()
# Of POST /webhooks/, the middleware in front of the routes.
WEBHOOKS = "/webhooks/{path}"


def test_asyncapi_is_valid() -> None:
    schema = json.loads((TESTS / "schemas/asyncapi-3.0.0.json").read_text(encoding="utf-8"))
    Draft7Validator(schema).validate(contracts.asyncapi())


def test_openapi_is_valid() -> None:
    validate(contracts.openapi(), base_uri=(contracts.DOCS / "openapi.yaml").as_uri())


@pytest.mark.parametrize(
    "path", sorted(contracts.DOCS.glob("schemas/*.yaml")), ids=lambda p: p.name
)
def test_schemas_are_valid(path: Path) -> None:
    Draft202012Validator.check_schema(contracts.load(f"schemas/{path.name}"))


def test_each_message_is_a_frame_and_each_frame_a_message() -> None:
    messages = contracts.asyncapi()["components"]["messages"]
    assert set(messages) == set(contracts.asyncapi()["channels"]["session"]["messages"])
    assert set(messages) == {name for name, each in contracts.frames().items() if _kind(each)}
    for name, message in messages.items():
        assert message["payload"]["schema"]["$ref"] == f"schemas/frames.yaml#/$defs/{name}"
        assert message["name"] == _kind(contracts.frames()[name])


def test_each_frame_that_the_server_takes_is_documented() -> None:
    documented = _received()
    known = {
        node.value.value
        for node in ast.walk(ast.parse(inspect.getsource(requests)))
        if isinstance(node, ast.MatchValue) and isinstance(node.value, ast.Constant)
    }
    assert known <= documented
    assert documented - known <= COMING_FROM_CLIENTS


def test_each_frame_that_the_server_sends_is_documented() -> None:
    documented = {_kind(contracts.frames()[name]) for name in contracts.frames()} - {""}
    documented -= _received() - {"ping", "pong"}
    known = {"events", *_encoded()}
    assert known <= documented
    assert documented - known <= COMING_FROM_SERVER


def test_each_operation_is_of_one_frame() -> None:
    answered: set[str] = set()
    for name, operation in contracts.asyncapi()["operations"].items():
        if operation["action"] == "receive":
            (message,) = operation["messages"]
            key = message["$ref"].rpartition("/")[2]
            assert contracts.frame_name(name, from_client=True) == key
            answered.add(key)
    assert answered == {contracts.frame_name(kind, from_client=True) for kind in _received()}


def test_each_error_code_is_documented() -> None:
    def tree(base: type[errors.RequestError]) -> set[str]:
        return {base.code}.union(*(tree(child) for child in base.__subclasses__()))

    assert tree(errors.RequestError) == set(contracts.frames()["code"]["enum"])


def test_each_close_code_is_documented() -> None:
    listed = contracts.asyncapi()["channels"]["session"]["x-close-codes"]
    assert {(each["code"], each["name"]) for each in listed} == {
        (c.value, c.name) for c in CloseCode
    }
    assert contracts.frames()["closeCode"]["enum"] == sorted(CloseCode)
    steps = contracts.asyncapi()["channels"]["session"]["x-next-steps"]
    assert set(steps) == {f"{code // 100}xx" for code in CloseCode}


def test_each_event_type_has_data() -> None:
    events = contracts.load("schemas/events.yaml")["$defs"]
    branches = events["event"]["allOf"] + contracts.frames()["ephemeral"]["allOf"]
    named = {next(iter(each["if"]["properties"].values()))["const"] for each in branches}
    assert named == {name for name in events if ":" in name}
    for branch in branches:
        (kind,) = (each["const"] for each in branch["if"]["properties"].values())
        assert branch["then"]["properties"]["data"]["$ref"].endswith(f"#/$defs/{kind}")


def test_each_event_type_that_is_published_is_documented() -> None:
    functions = TESTS.parent / "sql/functions"
    events = contracts.load("schemas/events.yaml")["$defs"]
    documented = {name for name in events if ":" in name and not _is_ephemeral(name)}
    text = "".join(path.read_text(encoding="utf-8") for path in functions.glob("*.sql"))
    assert set(re.findall(rf"'((?:{'|'.join(OWN_TYPES)}):[a-z-]+)'", text)) == documented


def test_each_route_is_documented() -> None:
    application = create(settings_for("postgresql://nobody@127.0.0.1:1/none"))
    served = set(_routes(application))
    paths = contracts.openapi()["paths"]
    documented = {(method.upper(), path) for path, each in paths.items() for method in each}
    webhooks = {(method, path) for method, path in documented if _is_webhook(method, path)}
    assert served - {("POST", WEBHOOKS)} == documented - webhooks
    # The middleware knows paths by what they begin with.
    (doors,) = (each.args[0] for each in application.user_middleware if each.args)
    assert isinstance(doors, dict)
    assert {path.partition("{")[0] for _, path in webhooks} == set(doors)


def test_a_check_is_strict() -> None:
    frame = {"type": "pong", "timestamp": "2026-11-21T12:00:00.000Z"}
    contracts.check_frame(frame)
    for bad in ({"surprise": 1}, {"timestamp": "now"}):
        with pytest.raises(ValidationError):
            contracts.check_frame(frame | bad)


def _kind(schema: contracts.Node) -> str:
    return schema.get("properties", {}).get("type", {}).get("const", "")


def _received() -> set[str]:
    operations = contracts.asyncapi()["operations"]
    return {name for name, each in operations.items() if each["action"] == "receive"}


def _encoded() -> Iterator[str]:
    """The types of frames that the gateway encodes."""
    assert gateway.__file__ is not None
    for path in Path(gateway.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="frames"), attr="encode")
                    | ast.Name(id="encode"),
                    args=[ast.Constant(value=str(kind)), *_],
                ):
                    yield kind
                case _:
                    pass


def _is_ephemeral(name: str) -> bool:
    return name.partition(":")[0] in {"presence", "typing"}


def _is_webhook(method: str, path: str) -> bool:
    return method == "POST" and path.startswith("/webhooks/")


def _routes(application: Starlette) -> Iterator[tuple[str, str]]:
    for route in application.routes:
        if isinstance(route, Route):
            path = route.path.replace(":path}", "}")
            yield from ((method, path) for method in (route.methods or ()) if method != "HEAD")
