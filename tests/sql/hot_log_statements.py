"""Statements of the log on the hot paths, each with the index that was made for it."""

from sql.hot_queue_statements import TENANT
from sql.planning import Statement

HEADS = [
    Statement(
        "stamp_for",
        "stream_heads_pkey",
        {"v_tenants": ("text[]", "array['t1']")},
        """
        select array_agg(t.tenant_id), array_agg(h.place)
        from unnest(v_tenants) as t (tenant_id)
        left join lateral (
          select e.ctid as place
          from chatsync.stream_heads e
          where e.tenant_id = t.tenant_id
          order by e.head desc
          limit 1
        ) as h on true
        """,
        role="chatsync_owner",
    ),
    Statement(
        "heads_of",
        "stream_heads_pkey",
        {"p_tenant_ids": ("text[]", "array['t1']")},
        role="chatsync_owner",
    ),
]

LOG_STATEMENTS = [
    *HEADS,
    Statement(
        "stamp_for",
        "outbox_pkey",
        {"p_limit": ("integer", "100"), "v_low": ("bigint", "0")},
        """
        select id, tenant_id from chatsync.outbox where id >= v_low order by id limit p_limit
        """,
        role="chatsync_owner",
    ),
    Statement(
        "read_events",
        "event_log_tenant_seq_idx",
        {
            "p_tenant_ids": ("text[]", "array['t1']"),
            "p_after": ("bigint[]", "array[100]"),
            "p_limit": ("integer", "50"),
        },
        role="chatsync_gateway",
    ),
    Statement(
        "changes",
        "event_log_tenant_seq_idx",
        TENANT
        | {"p_after": ("bigint", "100"), "p_upto": ("bigint", "200"), "p_limit": ("int", "50")},
        """
        select seq, data
        from chatsync.event_log
        where tenant_id = p_tenant_id and seq > p_after and seq <= p_upto
        order by seq
        limit p_limit
        """,
        role="chatsync_gateway",
    ),
]
