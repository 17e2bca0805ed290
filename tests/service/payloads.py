"""WhatsApp webhooks as tests send them."""

from typing import Any

Frame = dict[str, Any]

NUMBER = "100"


def delivery(
    *changes: Frame, number: str = NUMBER, customer: str = "15550001", name: str = "Ana"
) -> Frame:
    """A webhook body; each change is a `value` without metadata and contacts."""
    return {
        "object": "whatsapp_business_account",
        "entry": [
            {
                "id": "900",
                "changes": [
                    {
                        "field": "messages",
                        "value": {
                            "messaging_product": "whatsapp",
                            "metadata": {"phone_number_id": number},
                            "contacts": [{"profile": {"name": name}, "wa_id": customer}],
                            **change,
                        },
                    }
                    for change in changes
                ],
            }
        ],
    }


def said(text: str, wamid: str, customer: str = "15550001", at: int = 1_790_000_000) -> Frame:
    message = {
        "from": customer,
        "id": wamid,
        "timestamp": str(at),
        "type": "text",
        "text": {"body": text},
    }
    return {"messages": [message]}


def echoed(text: str, wamid: str, customer: str = "15550001", at: int = 1_790_000_000) -> Frame:
    message = {
        "from": "1555",
        "to": customer,
        "id": wamid,
        "timestamp": str(at),
        "type": "text",
        "text": {"body": text},
    }
    return {"message_echoes": [message]}


def reported(status: str, wamid: str, at: int = 1_790_000_001) -> Frame:
    update: Frame = {
        "id": wamid,
        "status": status,
        "timestamp": str(at),
        "recipient_id": "15550001",
    }
    if status == "failed":
        update["errors"] = [{"code": 131047, "title": "Re-engagement message"}]
    return {"statuses": [update]}
