"""A log may begin another life at any wait of its readers: nothing of it is given as of the old."""

from collections.abc import Sequence
from typing import cast

import pytest

from chatsync.errors import ResetRequired
from chatsync.events.feed import Feed, TenantFeed
from chatsync.gateway import pages
from chatsync.gateway.access import Access
from chatsync.gateway.auth import Authenticator
from chatsync.gateway.http.events import Events, _Caller
from chatsync.gateway.hub import Hub
from chatsync.gateway.sight import Sight
from chatsync.model import Cursor, Event
from virtual_session import CLAIMS, EPOCH, VirtualSession, event, resume

NOBODY = cast(Access, None)


class Log:
    """Stands where the feed does; its tenant's log begins another life after so many pages."""

    def __init__(self, *, pages_before: int) -> None:
        self.tenant = TenantFeed("t1", EPOCH, 10)
        self._left = pages_before
        self._begin_when_due()

    async def page(self, tenant: TenantFeed, after: int, _: int) -> Sequence[Event]:
        found = [event(after + 1)]
        assert tenant is self.tenant
        self._left -= 1
        self._begin_when_due()
        return found

    def _begin_when_due(self) -> None:
        if self._left <= 0:
            self.tenant.restart("e2", 10)


@pytest.mark.parametrize("pages_before", [0, 1])
async def test_a_session_is_given_nothing_of_another_life(pages_before: int) -> None:
    log, agent = Log(pages_before=pages_before), VirtualSession()
    agent.open(resume(5))
    feed = cast(Feed, log)
    found = await pages.read(feed, log.tenant, agent.session, NOBODY, pages.SOCKET_BYTES)
    assert (found, log.tenant.epoch) == ((), "e2")
    assert agent.session.reading.cursor == Cursor(EPOCH, 5)


async def test_a_poll_that_met_another_life_begins_anew() -> None:
    log = Log(pages_before=2)
    events = Events(NOBODY, cast(Authenticator, None), cast(Feed, log), cast(Hub, None))
    stranger = _Caller(CLAIMS, frozenset({"user:u9"}), Sight())
    with pytest.raises(ResetRequired) as refused:
        await events._read(log.tenant, Cursor(EPOCH, 5), stranger)
    assert refused.value.data == {"reason": "epoch"}
