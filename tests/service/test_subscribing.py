"""A topic that is added in the midst of a stream is heard without a hole."""

import asyncio
import threading

from conftest import Connections, SyncConnection
from service.following import hear, say
from service.harness import running_gateway, settings_for
from service.payloads import Frame, delivery, said


async def test_a_topic_added_in_a_stream_is_complete_from_its_position_on_any_gateway(
    database_url: str, inbox_id: int, connections: Connections, owner: SyncConnection
) -> None:
    assert inbox_id
    writer = connections.open("chatsync_worker")
    has_ended = threading.Event()

    def write(topic: str) -> None:
        number = 0
        while not has_ended.is_set():
            number += 1
            say(writer, number, topic=topic if number % 3 else "tenant:t1")

    settings = settings_for(database_url)
    async with (
        running_gateway(settings) as one,
        running_gateway(settings, with_worker=False) as other,
        one.session() as here,
        other.session() as there,
    ):
        await one.post(delivery(said("hello", "w1")))
        event = (await here.events_until("hello"))[-1]
        topic = f"conversation:{event['data']['conversationId']}"
        writing = asyncio.create_task(asyncio.to_thread(write, topic))
        starts: list[int] = []
        heard: list[list[Frame]] = []
        try:
            for agent in (here, there):
                for _ in range(20):
                    await agent.next("events")
                agent.seen.clear()
                await agent.send(type="subscribe", id=1, topics=[topic])
                reply = await agent.next("reply")
                starts.append(int(reply["data"]["cursor"].rpartition(".")[2]))
                heard.append([frame for frame in agent.seen if frame["type"] == "events"])
                heard[-1] += [await agent.next("events") for _ in range(20)]
        finally:
            has_ended.set()
            await writing
        say(writer, 1_000_000)
        for agent, start, frames in zip((here, there), starts, heard, strict=True):
            frames += await hear(agent, 1_000_000)
            assert start > 20
            check(owner, topic, start, frames)


def check(owner: SyncConnection, topic: str, start: int, frames: list[Frame]) -> None:
    """Every event of the topic after its position was heard, once and in order."""
    due = [
        row[0]
        for row in owner.execute(
            "select seq from chatsync.event_log where %s = any (topics) and seq > %s order by seq",
            [topic, start],
        )
    ]
    heard = [
        event["seq"] for frame in frames for event in frame["events"] if topic in event["topics"]
    ]
    assert len(due) > 10
    assert [seq for seq in heard if seq > start] == due
