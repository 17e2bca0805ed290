"""What the operator of an inbox should know: errors, and news of the account."""

from chatsync.providers.body import JsonObject
from chatsync.providers.inbound import Item, Malformed, Notice
from chatsync.providers.whatsapp_cloud.change import Change
from chatsync.providers.whatsapp_cloud.facts import error_of, is_object, shown, text_of

# Of these fields news of the account never come, whatever else is missing in them.
_FIELDS_OF_ITEMS = {
    "messages",
    "smb_message_echoes",
    "smb_app_state_sync",
    "history",
    "calls",
    "user_preferences",
    "user_id_update",
}


def parse_error(raw: JsonObject, change: Change) -> Item:
    """An error of the inbox's own, not of one of its messages."""
    error = error_of(raw)
    title = error["title"] or "error"
    return Notice(change.notice_id(raw), "channel_error", title, change.occurred_at, error)


def parse_history_error(raw: JsonObject, change: Change) -> Item:
    """Why there is no history, as when the business declined to share it."""
    error = error_of(raw)
    title = error["title"] or "error"
    return Notice(change.notice_id(raw), "history_error", title, change.occurred_at, error)


def account_notice(change: Change) -> Item:
    """News of the account: a change without items that names no number."""
    field = text_of(change.raw.get("field"))
    is_news = field not in _FIELDS_OF_ITEMS and not is_object(change.value.get("metadata"))
    if field is None or not is_news:
        reason = f"nothing known in a change of the field {shown(change.raw.get('field'))}"
        return Malformed(reason, change.raw)
    account_id = text_of(change.entry.get("id"))
    data = {"field": field, "accountId": account_id, "value": change.value}
    title = text_of(change.value.get("event")) or field
    return Notice(change.notice_id(None), "account", title, change.occurred_at, data)
