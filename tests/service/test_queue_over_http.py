"""What admins do with the queue over HTTP."""

from conftest import SyncConnection
from service.harness import Gateway, running_gateway, settings_for, token
from service.payloads import delivery, said

ADMIN = token("boss", role="admin")
NOBODY_KNOWS = {"object": "whatsapp_business_account", "entry": [{"id": "9", "changes": [{}]}]}


async def post(gateway: Gateway, path: str, jwt: str = ADMIN) -> tuple[int, dict[str, object]]:
    answer = await gateway.http.post(path, headers={"Authorization": f"Bearer {jwt}"})
    return answer.status_code, answer.json()


async def failed(gateway: Gateway, **query: object) -> list[dict[str, str]]:
    return (await gateway.get("/api/queue/failed", ADMIN, **query)).json()["items"]


async def test_a_queue_that_an_admin_pauses_rests_until_it_is_resumed(
    database_url: str, inbox_id: int
) -> None:
    async with running_gateway(settings_for(database_url)) as gateway, gateway.session() as agent:
        assert await post(gateway, "/api/queue/inbound/pause") == (
            200,
            {"queue": "inbound", "isPaused": True},
        )
        await gateway.post(delivery(said("hi", "w1")))
        (queue,) = (await gateway.get("/api/queue", ADMIN)).json()["queues"]
        assert (queue["queue"], queue["isPaused"]) == ("inbound", True)
        assert queue["pending"] + queue["paused"] >= 1
        assert (await post(gateway, "/api/queue/inbound/resume"))[0] == 200
        assert len(await agent.events(2)) == 2


async def test_dead_letters_are_listed_and_discarded_one_by_one(gateway: Gateway) -> None:
    for _ in range(3):
        await gateway.post(NOBODY_KNOWS)
    letters = await failed(gateway)
    assert len(letters) == 3
    assert [int(each["id"]) for each in letters] == sorted(
        (int(each["id"]) for each in letters), reverse=True
    )
    assert await failed(gateway, limit=2) == letters[:2]
    assert await failed(gateway, before=letters[1]["id"]) == letters[2:]
    assert await failed(gateway, queue="other") == []

    path = f"/api/queue/failed/{letters[0]['id']}/discard"
    assert (await post(gateway, path))[0] == 200
    assert (await post(gateway, path))[0] == 404
    assert await failed(gateway) == letters[1:]


async def test_a_dead_letter_that_is_redriven_runs_again(
    database_url: str, inbox_id: int, owner: SyncConnection
) -> None:
    async with running_gateway(settings_for(database_url), with_worker=False) as gateway:
        await gateway.post(delivery(said("hi", "w1")))
        owner.execute("select chatsync.cancel_message(id, 'a mistake') from chatsync.message_queue")
        (letter,) = await failed(gateway)
        status, document = await post(gateway, f"/api/queue/failed/{letter['id']}/redrive")
        assert (status, set(document)) == (200, {"messageId"})
        assert await failed(gateway) == []
        (queue,) = (await gateway.get("/api/queue", ADMIN)).json()["queues"]
        assert (queue["pending"], queue["dead"]) == (1, 0)
        assert (await post(gateway, f"/api/queue/failed/{letter['id']}/redrive"))[0] == 404


async def test_the_queue_is_for_admins_alone(gateway: Gateway) -> None:
    for role in ("agent", "supervisor", "service"):
        jwt = token(role=role)
        for path in ("/api/queue", "/api/queue/failed"):
            assert (await gateway.get(path, jwt)).status_code == 403
        for path in ("failed/1/redrive", "failed/1/discard", "inbound/pause", "inbound/resume"):
            assert (await post(gateway, f"/api/queue/{path}", jwt))[0] == 403


async def test_what_is_no_queue_and_no_id_is_refused(gateway: Gateway) -> None:
    assert (await post(gateway, "/api/queue/no%20queue/pause"))[0] == 422
    assert (await post(gateway, "/api/queue/failed/x/redrive"))[0] == 404
    assert (await gateway.get("/api/queue/failed", ADMIN, before="x")).status_code == 422
