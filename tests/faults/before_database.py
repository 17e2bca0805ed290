"""A proxy in front of the test's database."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from faults.proxy import Dial, Proxy, proxy_to, to_port, to_unix


@asynccontextmanager
async def behind_a_proxy(url: str) -> AsyncGenerator[tuple[Proxy, str]]:
    """A proxy to the test's database, and the URL that leads through it."""
    async with proxy_to(dial_to(url)) as proxy:
        yield proxy, through(url, proxy)


def through(url: str, proxy: Proxy) -> str:
    # What is encrypted tells nobody its name.
    return make_conninfo(
        url, host="127.0.0.1", port=proxy.port, sslmode="disable", gssencmode="disable"
    )


def dial_to(url: str) -> Dial:
    given = conninfo_to_dict(url)
    host, port = str(given.get("host", "127.0.0.1")), int(str(given.get("port", 5432)))
    return to_unix(f"{host}/.s.PGSQL.{port}") if host.startswith("/") else to_port(port)
