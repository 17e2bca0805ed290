"""What an agent's screen holds that has heard nothing but events: protocol §3 and §4, no more."""

from typing import Any

Entity = dict[str, Any]


class Screen:
    """Conversations, messages, contacts and inboxes, each at the newest version that was heard."""

    def __init__(self) -> None:
        self.conversations: dict[str, Entity] = {}
        self.messages: dict[str, Entity] = {}
        self.contacts: dict[str, Entity] = {}
        self.inboxes: dict[str, Entity] = {}
        self.merged: dict[str, str] = {}

    def apply(self, event: Entity) -> None:
        data = event["data"]
        match event["type"]:
            case "message:new" | "message:updated":
                assert data["conversationId"] == data["message"]["conversationId"]
                self._take(self.messages, data["message"])
            case "message:status-update":
                known = self.messages[data["messageId"]]
                if data["version"] > known["version"]:
                    changed = {name: data[name] for name in ("status", "version")}
                    known |= changed
                    known.pop("error", None)
                    known |= {"error": data["error"]} if "error" in data else {}
            case "conversation:new" | "conversation:updated":
                self._take(self.conversations, data["conversation"])
            case "conversation:merged":
                self.merged[data["conversationId"]] = data["intoId"]
            case "contact:updated":
                self._take(self.contacts, data["contact"])
            case "connection:update" | "qrcode:update":
                self._take(self.inboxes, {**data, "id": data["inboxId"]})
            case unknown:
                raise AssertionError(f"an event of an unknown type: {unknown}")

    def _take(self, known: dict[str, Entity], entity: Entity) -> None:
        old = known.get(entity["id"])
        if old is None or entity["version"] > old["version"]:
            known[entity["id"]] = entity

    def message(self, message_id: str) -> Entity:
        """A message with what was heard of its contact and its conversation since it came."""
        message = self.messages[message_id]
        into = self.merged.get(message["conversationId"], message["conversationId"])
        return message | {"conversationId": into, "contact": self._contact(message["contact"])}

    def conversation(self, conversation_id: str) -> Entity:
        conversation = self.conversations[conversation_id]
        return conversation | {"contact": self._contact(conversation["contact"])}

    def _contact(self, contact: Entity) -> Entity:
        known = self.contacts.get(contact["id"], contact)
        known = self.contacts.get(known.get("mergedInto", ""), known)
        return {name: known[name] for name in ("id", "phoneNumber", "name")}
