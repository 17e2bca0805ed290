"""Which table a role may read and write."""

QUEUE = {
    "lane_turns",
    "limit_buckets",
    "message_queue",
    "queue_lanes",
    "queue_pauses",
    "workers",
}
INBOX = {
    "contact_identities",
    "contacts",
    "conversations",
    "message_provider_ids",
    "messages",
    "orphans",
}
WRITABLE = {
    ("chatsync_gateway", "INSERT"): {"outbox", "presence"},
    ("chatsync_gateway", "UPDATE"): {"presence"},
    ("chatsync_gateway", "DELETE"): {"presence"},
    ("chatsync_gateway", "TRUNCATE"): set[str](),
    ("chatsync_worker", "INSERT"): QUEUE
    | INBOX
    | {
        "failed_attempts",
        "failed_messages",
        "inbox_notices",
        "message_archive",
        "outbox",
        "processed_items",
        "tenants",
    },
    ("chatsync_worker", "UPDATE"): QUEUE | INBOX | {"inboxes"},
    ("chatsync_worker", "DELETE"): QUEUE | INBOX | {"late_entries"},
    ("chatsync_worker", "TRUNCATE"): set[str](),
    ("chatsync_producer", "INSERT"): {"message_queue"},
    ("chatsync_producer", "UPDATE"): set[str](),
    ("chatsync_producer", "DELETE"): set[str](),
    ("chatsync_producer", "TRUNCATE"): set[str](),
    ("chatsync_operator", "INSERT"): set[str](),
    ("chatsync_operator", "UPDATE"): set[str](),
    ("chatsync_operator", "DELETE"): set[str](),
    ("chatsync_operator", "TRUNCATE"): set[str](),
    ("chatsync_reader", "INSERT"): set[str](),
    ("chatsync_reader", "UPDATE"): set[str](),
    ("chatsync_reader", "DELETE"): set[str](),
    ("chatsync_reader", "TRUNCATE"): set[str](),
}
VIEWS = {"queue_blocked", "queue_depth", "queue_limit_use", "queue_workers"}
# What the three roles besides the processes' may read, as a whole and in parts.
READABLE = {
    "chatsync_producer": set[str](),
    "chatsync_operator": QUEUE
    | VIEWS
    | {
        "failed_attempts",
        "failed_messages",
        "message_archive",
        "queue_limits",
        "queue_policies",
        "schema_ledger",
    },
    "chatsync_reader": VIEWS
    | {"lane_turns", "limit_buckets", "queue_lanes", "queue_limits", "queue_pauses", "workers"},
}
READABLE_IN_PART = {
    "chatsync_producer": {"message_queue": {"id"}},
    "chatsync_operator": dict[str, set[str]](),
    "chatsync_reader": {
        "failed_messages": {"queue"},
        "message_queue": {
            "created_at",
            "deaths",
            "id",
            "inbox_id",
            "lane_key",
            "last_error",
            "lease_id",
            "ordering_key",
            "parked_by",
            "processed_at",
            "queue",
            "retry_count",
            "scheduled_at",
            "status",
            "tenant_id",
            "worker_id",
        },
    },
}
