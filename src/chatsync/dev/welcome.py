"""What `chatsync dev` prints when it is ready: the next steps, each ready to paste."""

import json
from pathlib import Path

from chatsync.dev.simulator import ACCOUNT_ID, PHONE_NUMBER_ID


def text(address: str, token: str, data_dir: Path) -> str:
    """The whole greeting. `address` is an http URL without a path."""
    command = "scripts/chatsync" if Path("scripts/chatsync").exists() else "chatsync"
    return f"""
chatsync is ready at {address} (data in {data_dir}; Ctrl-C ends it)

# an agent's token, for a month
export TOKEN={token}

# watch what agents see
{command} tail

# a customer writes
{_webhook(address)}

# what the agent would load
curl -sS -H "Authorization: Bearer $TOKEN" {address}/api/conversations

# ten customers, five webhooks a second
{command} simulate --rate 5 --customers 10

"""


def _webhook(address: str) -> str:
    """A curl that posts a message; the shell fills in an id and a time at each paste."""
    message = {
        "from": "15551000000",
        "id": "wamid.'\"$(date +%s%N)\"'",
        "timestamp": "'\"$(date +%s)\"'",
        "type": "text",
        "text": {"body": "Hello!"},
    }
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550000000", "phone_number_id": PHONE_NUMBER_ID},
        "contacts": [{"profile": {"name": "Ana"}, "wa_id": "15551000000"}],
        "messages": [message],
    }
    changes = [{"field": "messages", "value": value}]
    entry = [{"id": ACCOUNT_ID, "changes": changes}]
    body = json.dumps(
        {"object": "whatsapp_business_account", "entry": entry}, separators=(",", ":")
    )
    # JSON escaped the quotes that end and begin the shell's string; the shell needs them bare.
    return f"curl -sS -w '%{{http_code}}\\n' {address}/webhooks/whatsapp -d '{body}'".replace(
        '\\"', '"'
    )
