"""Customers that write: signed webhooks as WhatsApp posts them, at a given rate.

Each customer has a name, a number and something to say; now and then the business answers from its
phone, and the answer is delivered and read.
"""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx2

from chatsync.providers.whatsapp_cloud import sign

JsonObject: TypeAlias = dict[str, Any]

PHONE_NUMBER_ID = "100000000000000"
ACCOUNT_ID = "200000000000000"
# Requests under way at once: WhatsApp posts in parallel, too.
CONCURRENCY = 32

_NAMES = ("Ana", "Bruno", "Carla", "Diego", "Elisa", "Fabio", "Gabriela", "Hugo", "Iris", "João")
_LINES = (
    "Hi, is anybody there?",
    "My order has not arrived yet.",
    "Which sizes do you have?",
    "Can I pay on delivery?",
    "Thank you! 🙏",
    "What are your opening hours?",
    "I would like to change my address.",
    "Perfeito, muito obrigado!",
)
_ANSWERS = ("Good morning! How can we help?", "It is on its way.", "Of course.", "You are welcome!")


@dataclass(slots=True)
class Tally:
    """What became of the deliveries."""

    sent: int = 0
    accepted: int = 0
    failed: int = 0


class Customers:
    """An endless conversation of some customers with one business."""

    def __init__(self, count: int, phone_number_id: str, seed: int | None) -> None:
        self._random = random.Random(seed)
        self._count = count
        self._phone_number_id = phone_number_id
        self._run = f"{time.time_ns():x}"
        self._number = 0

    def deliveries(self) -> Iterator[JsonObject]:
        while True:
            customer = self._random.randrange(self._count)
            yield self._says(customer)
            if self._random.random() < 0.2:
                answer_id = self._next_id()
                yield self._answers(customer, answer_id)
                for status in ("sent", "delivered", "read"):
                    yield self._status(customer, answer_id, status)

    def _says(self, customer: int) -> JsonObject:
        message = {
            "from": _number(customer),
            "id": self._next_id(),
            "timestamp": str(int(time.time())),
            "type": "text",
            "text": {"body": self._random.choice(_LINES)},
        }
        return self._delivery(customer, "messages", {"messages": [message]})

    def _answers(self, customer: int, answer_id: str) -> JsonObject:
        echo = {
            "from": "15550000000",
            "to": _number(customer),
            "id": answer_id,
            "timestamp": str(int(time.time())),
            "type": "text",
            "text": {"body": self._random.choice(_ANSWERS)},
        }
        return self._delivery(customer, "smb_message_echoes", {"message_echoes": [echo]})

    def _status(self, customer: int, answer_id: str, status: str) -> JsonObject:
        update = {
            "id": answer_id,
            "status": status,
            "timestamp": str(int(time.time())),
            "recipient_id": _number(customer),
        }
        return self._delivery(customer, "messages", {"statuses": [update]})

    def _delivery(self, customer: int, field: str, content: JsonObject) -> JsonObject:
        value = {
            "messaging_product": "whatsapp",
            "metadata": {
                "display_phone_number": "15550000000",
                "phone_number_id": self._phone_number_id,
            },
            "contacts": [
                {"profile": {"name": _name(customer)}, "wa_id": _number(customer)},
            ],
            **content,
        }
        changes = [{"field": field, "value": value}]
        return {
            "object": "whatsapp_business_account",
            "entry": [{"id": ACCOUNT_ID, "changes": changes}],
        }

    def _next_id(self) -> str:
        self._number += 1
        return f"wamid.SIM{self._run}{self._number:08d}"


async def simulate(
    address: str,
    secret: str,
    customers: Customers,
    *,
    rate: float,
    count: int | None,
    seconds: float | None,
) -> Tally:
    """Post deliveries until `count` are sent or `seconds` are over; returns what became of them."""
    tally = Tally()
    began = time.monotonic()
    slots = asyncio.Semaphore(CONCURRENCY)
    async with (
        httpx2.AsyncClient(base_url=address, timeout=15) as client,
        asyncio.TaskGroup() as tasks,
    ):
        for delivery in customers.deliveries():
            due = began + tally.sent / rate
            if (count is not None and tally.sent >= count) or (
                seconds is not None and due - began >= seconds
            ):
                break
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await slots.acquire()
            tally.sent += 1
            task = tasks.create_task(_post(client, secret, delivery, tally))
            task.add_done_callback(lambda _: slots.release())
    return tally


async def _post(
    client: httpx2.AsyncClient, secret: str, delivery: JsonObject, tally: Tally
) -> None:
    # Meta escapes what is not ASCII; so does json.dumps.
    body = json.dumps(delivery).encode()
    headers = {"Content-Type": "application/json", "X-Hub-Signature-256": sign(body, secret)}
    try:
        response = await client.post("/webhooks/whatsapp", content=body, headers=headers)
    except httpx2.HTTPError:
        tally.failed += 1
        return
    if response.status_code == 200:
        tally.accepted += 1
    else:
        tally.failed += 1


def _number(customer: int) -> str:
    return f"1555{1_000_000 + customer}"


def _name(customer: int) -> str:
    return f"{_NAMES[customer % len(_NAMES)]} {customer // len(_NAMES) + 1}"
