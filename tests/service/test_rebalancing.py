"""Sessions move to gateways that have fewer, when an operator says so."""

import asyncio
import contextlib
import signal
from pathlib import Path

from websockets.exceptions import ConnectionClosed

from service.harness import PATIENCE_SECONDS, Client, free_port, process, wait_for
from service.test_lifecycle import is_ready, session, stats


async def sent_away(client: Client) -> bool:
    """Whether a session is being sent to another gateway; the others answer."""
    with contextlib.suppress(ConnectionClosed):
        await client.send(type="ping", n=1)
    frame = await client.next("closing", "pong")
    if frame["type"] == "pong":
        return False
    assert (frame["code"], len(frame["retryMs"])) == (4101, 2)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await client.socket.wait_closed()
    assert client.socket.close_code == 4101
    return True


async def test_a_gateway_gives_up_what_it_has_above_the_mean(
    database_url: str, inbox_id: int, tmp_path: Path
) -> None:
    assert inbox_id
    old, new = free_port(), free_port()
    log = tmp_path / "log"
    with (
        process("serve", "--port", str(old), database_url=database_url, log=log) as older,
        process(
            *("serve", "--workers", "2", "--port", str(new)), database_url=database_url, log=log
        ) as newer,
    ):
        wait_for(lambda: is_ready(old) and is_ready(new), "readiness")

        async def known() -> tuple[int, int]:
            figures = await stats(old)
            return figures["gateways"], figures["totalConnections"]

        async with (
            session(old) as one,
            session(old) as two,
            session(old) as three,
            session(old) as four,
            session(new) as elsewhere,
        ):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await known() != (3, 5):  # noqa: ASYNC110 - nothing to wait on
                    await asyncio.sleep(0.1)
            # Who has no more than the mean keeps it; a supervisor passes the signal on.
            newer.kill(signal.SIGUSR1)
            older.kill(signal.SIGUSR1)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (await known())[1] != 3:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            assert not await sent_away(elsewhere)
            mine = [await sent_away(client) for client in (one, two, three, four)]
            assert sorted(mine) == [False, False, True, True]
            assert is_ready(old)
    assert "Traceback" not in log.read_text()
