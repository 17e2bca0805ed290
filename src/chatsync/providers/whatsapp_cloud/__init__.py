"""WhatsApp Cloud API: verify, split by inbox, parse. Pure functions over bytes and JSON.

Facts from Meta's "Webhooks" and "Components" pages for the Cloud API. A body is not to be trusted
before its signature was checked against its raw bytes.
"""

from chatsync.providers.whatsapp_cloud.delivery import parse
from chatsync.providers.whatsapp_cloud.routing import Part, split
from chatsync.providers.whatsapp_cloud.signature import sign, signature_fits

__all__ = ["NAME", "Part", "parse", "sign", "signature_fits", "split"]

NAME = "whatsapp_cloud"
