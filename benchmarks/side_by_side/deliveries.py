"""Signed webhooks of the WhatsApp Cloud API, made before anything is measured.

All requests have one length, so that a file of them needs no index; each has a message
of its own.
"""

import hashlib
import hmac
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

TENANT = "bench"
# One inbox each; most figures use the first alone.
PHONE_NUMBER_IDS = [str(106540352242922 + number) for number in range(8)]
ACCOUNT_ID = "102290129340398"
APP_SECRET = "a-secret-of-the-benchmark"
PATH = "/webhooks/whatsapp"
CONTACTS = 1_000
# The number of a message is the eight digits after this.
NUMBER_MARK = b"BENCH"

# What Meta sends for a text of two lines; 700 bytes, of which the text is 240.
_BODY = (
    '{"object":"whatsapp_business_account","entry":[{"id":"%s","changes":[{"value":'
    '{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550783881",'
    '"phone_number_id":"%s"},"contacts":[{"profile":{"name":"Customer %04d"},'
    '"wa_id":"5511900%06d"}],'
    '"messages":[{"from":"5511900%06d","id":"wamid.HBgNNTUxMTkwMDAwMDAwMBUCABEYEBENCH%08dAA==",'
    '"timestamp":"%010d","text":{"body":"%s"},"type":"text"}]},"field":"messages"}]}]}'
)
_TEXT = (
    "Good morning, I ordered two pairs of running shoes last week, and only one of them has come."
    " Could you please look up where the other parcel is, and tell me when it comes? Thank you!"
    " The order is 48213, and I need them on Saturday morning."
)
_HEAD = (
    f"POST {PATH} HTTP/1.1\r\n"
    "Host: 127.0.0.1\r\n"
    "User-Agent: facebookexternalua\r\n"
    "Accept: */*\r\n"
    "Content-Type: application/json\r\n"
    "Content-Length: %d\r\n"
    "X-Hub-Signature-256: sha256=%s\r\n"
    "\r\n"
)


def requests(first: int, count: int, inboxes: int = 1) -> Iterator[bytes]:
    """Requests with the messages `first` to `first + count - 1`, from contacts in random order.

    Each contact writes to one of the first `inboxes` inboxes.
    """
    chance = random.Random(first)
    key = hmac.new(APP_SECRET.encode(), digestmod=hashlib.sha256)
    now = int(time.time())
    for number in range(first, first + count):
        contact = chance.randrange(CONTACTS)
        inbox = PHONE_NUMBER_IDS[contact % inboxes]
        values = (ACCOUNT_ID, inbox, contact, contact, contact, number, now, _TEXT)
        body = (_BODY % values).encode()
        signer = key.copy()
        signer.update(body)
        yield (_HEAD % (len(body), signer.hexdigest())).encode() + body


def write(path: Path, count: int) -> int:
    """Write requests back to back into a file; returns the bytes of each."""
    size = 0
    with path.open("wb") as file:
        for request in requests(0, count):
            size = len(request)
            file.write(request)
        file.flush()
        os.fsync(file.fileno())  # or else it is written while a server waits for the same disk
    return size
