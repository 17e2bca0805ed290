"""Recorded deliveries, end to end: what is in them is what agents see, whatever their order."""

import os
import random
from collections.abc import AsyncGenerator, Generator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from conftest import SyncConnection
from service.harness import Gateway, running_gateway, settings_for
from service.recorded import ALL, KEY_OF_ALL, NO_FIXTURES, Recorded, World, as_owner, kinds, world
from service.screen import Entity
from service.seen import NOTHING, check, targets

pytestmark = pytest.mark.skipif(not ALL, reason=NO_FIXTURES)


@pytest.fixture(scope="module")
def own_database_url(server_url: str, template: str) -> Generator[str]:
    """One database for all worlds of this module."""
    name = f"chatsync_recorded_{os.getpid()}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        made = sql.SQL("create database {} template {}")
        admin.execute(made.format(sql.Identifier(name), sql.Identifier(template)))
        yield make_conninfo(server_url, dbname=name)
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
async def shared_gateway(own_database_url: str) -> AsyncGenerator[Gateway]:
    settings = settings_for(own_database_url, evolution_api_key=SecretStr(KEY_OF_ALL))
    async with running_gateway(settings) as running:
        yield running


@pytest.fixture(scope="module")
def onlooker(own_database_url: str) -> Generator[SyncConnection]:
    with as_owner(own_database_url) as connection:
        yield connection


EVERYTHING = list({one.raw: one for each in ALL for one in (each, *targets(each))}.values())
_numbers = iter(range(1, 10_000))


@pytest.fixture
async def own_world(shared_gateway: Gateway, onlooker: SyncConnection) -> AsyncGenerator[World]:
    async with world(shared_gateway, onlooker, next(_numbers)) as made:
        yield made


@pytest.mark.parametrize("recorded", ALL, ids=str)
async def test_what_is_in_a_delivery_is_what_agents_see(
    own_world: World, recorded: Recorded
) -> None:
    if wanted := targets(recorded):
        for target in wanted:
            await own_world.post(target)
        await own_world.settled()
    before = await own_world.snapshot()

    await own_world.post(recorded)
    events = await own_world.settled()

    await check(own_world, recorded, events)
    await same_on_the_screen(own_world)
    assert own_world.dead_letters() == []
    if all(facts["kind"] in NOTHING for facts in recorded.facts):
        assert events == []
        assert rows(await own_world.snapshot()) == rows(before)
    await nothing_changes_when_it_comes_again(own_world, [recorded])


@pytest.mark.parametrize("recorded", [one for one in ALL if targets(one)], ids=str)
async def test_what_comes_before_its_message_waits_for_it(
    own_world: World, recorded: Recorded
) -> None:
    await own_world.post(recorded)
    await own_world.settled()
    for target in targets(recorded):
        await own_world.post(target)
    events = await own_world.settled()

    await check(own_world, recorded, events)
    await same_on_the_screen(own_world)
    assert own_world.dead_letters() == []
    await nothing_changes_when_it_comes_again(own_world, [recorded, *targets(recorded)])


async def test_everything_in_order_and_once_more(own_world: World) -> None:
    everything = [*EVERYTHING]
    for delivery in everything:
        await own_world.post(delivery)
    await own_world.settled()

    await same_on_the_screen(own_world)
    assert own_world.dead_letters() == []
    # A connection has neither an id nor a time: that it closed once more is news.
    again = [one for one in everything if not {"connection", "qrcode"} & kinds(one)]
    await nothing_changes_when_it_comes_again(own_world, again)


async def same_on_the_screen(own: World) -> None:
    """Who heard every event has what a snapshot shows."""
    page, screen = await own.snapshot(), own.screen
    for conversation in page["conversations"]:
        assert shown(screen.conversation(conversation["id"])) == shown(conversation)
    for message in page["messages"]:
        assert shown(screen.message(message["id"])) == shown(message)
    assert set(screen.messages) == {message["id"] for message in page["messages"]}
    for inbox in page["inboxes"]:
        heard = screen.inboxes.get(inbox["id"])
        assert heard is None or heard["state"] == inbox["state"]


def shown(entity: Entity) -> Entity:
    """Without what an agent does not see: a merge moves messages, and announces the merge alone.

    Of its last message, a conversation says what it was when it came.
    """
    return {name: value for name, value in entity.items() if name not in ("version", "lastMessage")}


async def nothing_changes_when_it_comes_again(own: World, deliveries: list[Recorded]) -> None:
    before = rows(await own.snapshot())
    for delivery in deliveries:
        await own.post(delivery)
    assert await own.settled() == []
    assert rows(await own.snapshot()) == before
    assert own.dead_letters() == []


def rows(page: Entity) -> Entity:
    return {name: value for name, value in page.items() if name not in ("syncTimestamp", "cursor")}


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_any_order_ends_the_same(
    shared_gateway: Gateway, onlooker: SyncConnection, own_world: World, seed: int
) -> None:
    for delivery in EVERYTHING:
        await own_world.post(delivery)
    await own_world.settled()
    shuffled = [*EVERYTHING]
    random.Random(seed).shuffle(shuffled)
    async with world(shared_gateway, onlooker, next(_numbers)) as other:
        for delivery in shuffled:
            await other.post(delivery)
        await other.settled()

        assert await outcome(other) == await outcome(own_world)
        await same_on_the_screen(other)
        assert other.dead_letters() == []


async def outcome(own: World) -> Entity:
    """What must not depend on the order in which deliveries come."""
    page = await own.snapshot()
    contacts = {contact["id"]: person(contact) for contact in page["contacts"]}
    threads = {one["id"]: one["contact"]["id"] for one in page["conversations"]}
    provider_ids = {one["id"]: one["providerMessageId"] for one in page["messages"]}
    for conversation in page["conversations"]:
        unread = [one for one in page["messages"] if one["conversationId"] == conversation["id"]]
        unread = [one for one in unread if is_unread(one)]
        assert conversation["unreadCount"] == len(unread), conversation
    messages = {
        one["providerMessageId"]: [
            timeless(one, provider_ids),
            contacts[threads[one["conversationId"]]],
            person(await contact_of(own, one, page)),
        ]
        for one in page["messages"]
    }
    return {"contacts": sorted(contacts.values()), "messages": messages}


async def contact_of(own: World, message: Entity, page: Entity) -> Entity:
    known = {contact["id"]: contact for contact in page["contacts"]}
    return known.get(message["contact"]["id"], message["contact"])


def is_unread(message: Entity) -> bool:
    return message["direction"] == "INBOUND" and message["status"] == "DELIVERED"


def person(contact: Entity) -> str:
    """A contact without our numbers."""
    facts = {name: contact[name] for name in sorted(contact) if name not in ("id", "version")}
    facts["identities"] = [(one["kind"], one["value"]) for one in contact.get("identities", [])]
    return str(facts)


def timeless(message: Entity, provider_ids: dict[str, str]) -> Entity:
    """A message without our numbers, and without what nobody can put in order."""
    metadata: Entity = message["metadata"]
    kept: Entity = {
        name: message[name] for name in ("type", "content", "direction", "timestamp", "origin")
    }
    # Reactions of the same second, and what is told without a time: the last to come counts.
    unordered = ("reactions", "deletedAt", "playedAt", "replyTo")
    kept["metadata"] = {name: metadata[name] for name in metadata if name not in unordered}
    kept["deleted"] = "deletedAt" in metadata
    kept["replyTo"] = provider_ids.get(message.get("replyTo", ""), metadata.get("replyTo"))
    if message["direction"] == "OUTBOUND":
        kept["status"] = message["status"]
    if "call" in metadata:
        # The recorded steps of one call contradict each other in who called, and when.
        del kept["direction"], kept["timestamp"], kept["metadata"]
        kept["step"] = metadata["call"]["step"]
        kept.pop("status", None)
    return kept
