"""PostgreSQL is restarted at each step of both kinds of handler, as after a crash."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from chatsync.dev.embedded import EmbeddedPostgres
from chatsync.migrate import migrate
from crash.points import points
from crash.scene import scene_in
from service.harness import wait_for
from service.worker_api import is_empty


@pytest.fixture
def server(tmp_path: Path) -> Generator[EmbeddedPostgres]:
    """A server of the test's own, with fsync on, since it is going to be killed."""
    bin_dir = os.environ.get("CHATSYNC_TEST_POSTGRES_BIN")
    with EmbeddedPostgres(tmp_path, bin_dir=Path(bin_dir) if bin_dir else None) as running:
        migrate(running.url)
        try:
            yield running
        finally:
            running.remove()


@pytest.mark.parametrize("point", points("done"))
@pytest.mark.parametrize("dies_too", [False, True], ids=["worker lives", "worker dies"])
def test_an_immediate_restart_of_postgresql(
    server: EmbeddedPostgres, tmp_path: Path, point: str, dies_too: bool
) -> None:
    with scene_in(server.url, tmp_path) as scene:
        with scene.stopped_at(point):
            server.restart(immediate=True)
            scene.reconnect()
            scene.spare.say()
            if dies_too:
                scene.doomed.kill()
                scene.doomed.wait()
            else:
                scene.doomed.say()
        scene.producer.enqueue(2)
        wait_for(lambda: is_empty(scene.owner), "the end of the queues")
        for worker in [scene.spare] if dies_too else [scene.doomed, scene.spare]:
            worker.end()
        assert scene.findings() == {}
