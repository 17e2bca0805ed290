"""Statements on the hot paths, each with the index that was made for it."""

from sql.hot_log_statements import LOG_STATEMENTS
from sql.hot_queue_statements import QUEUE_STATEMENTS, TENANT
from sql.planning import Statement

THREADS = {
    "p_threads": ("integer[]", "array[1, 2]"),
    "p_tenant_ids": ("text[]", "array['t1', 't1']"),
    "p_inbox_ids": ("bigint[]", "array[1, 1]"),
    "p_contact_ids": ("bigint[]", "array[5, 6]"),
}
CALLER = {"p_claims": ("jsonb", """'{"tenant": "t1", "sub": "u1", "role": "agent"}'""")}
SINCE = {"p_correlation_id": ("text", "'c7'"), "p_since": ("timestamptz", "null")}
STATEMENTS = [
    *QUEUE_STATEMENTS,
    *LOG_STATEMENTS,
    Statement(
        "list_conversations",
        "conversations_recent_idx",
        TENANT
        | CALLER
        | {
            "v_sees_all": ("boolean", "true"),
            "p_limit": ("integer", "50"),
            "p_before_at": ("timestamptz", "null"),
            "p_before_id": ("bigint", "null"),
            "p_status": ("text", "null"),
            "p_assignee_id": ("text", "null"),
            "p_inbox_id": ("bigint", "null"),
        },
        """
        select v.conversation::text, coalesce(v.last_message_at, v.created_at)::text,
          v.conversation_id
        from chatsync.wire_conversations v
        where v.tenant_id = p_tenant_id
          and (p_before_at is null
            or (coalesce(v.last_message_at, v.created_at), v.conversation_id)
              < (p_before_at, p_before_id))
          and (p_status is null or v.status = p_status)
          and (p_assignee_id is null or v.assignee_id = p_assignee_id)
          and (p_inbox_id is null or v.inbox_id = p_inbox_id)
          and (v_sees_all or chatsync.can_access_conversation(p_claims, v.conversation_id))
        order by coalesce(v.last_message_at, v.created_at) desc, v.conversation_id desc
        limit p_limit
        """,
        role="chatsync_gateway",
    ),
    Statement(
        "list_messages",
        "messages_timeline_idx",
        TENANT
        | {
            "p_conversation_id": ("bigint", "77"),
            "p_limit": ("integer", "50"),
            "p_before_at": ("timestamptz", "null"),
            "p_before_position": ("bigint", "null"),
        },
        role="chatsync_gateway",
    ),
    Statement(
        "snapshot_page",
        "contact_identities_contact_idx",
        TENANT | CALLER | {"p_after": ("bigint", "100"), "p_limit": ("integer", "20")},
        role="chatsync_gateway",
    ),
    Statement(
        "snapshot_page",
        "messages_timeline_idx",
        TENANT | CALLER | {"p_after": ("bigint", "100"), "p_limit": ("integer", "20")},
        role="chatsync_gateway",
    ),
    Statement(
        "lock_open_conversations",
        "conversations_one_open_idx",
        THREADS,
        """
        select f.thread, v.conversation_id
        from (
          select t.thread, o.conversation_id
          from unnest(p_threads) as t (thread)
          cross join lateral (
            select v.conversation_id
            from chatsync.conversations v
            where v.tenant_id = p_tenant_ids[t.thread] and v.inbox_id = p_inbox_ids[t.thread]
              and v.contact_id = p_contact_ids[t.thread] and v.status <> 'RESOLVED'
            limit 1
          ) as o
          order by o.conversation_id
        ) as f
        cross join lateral (
          select v.conversation_id, v.contact_id, v.status
          from chatsync.conversations v
          where v.tenant_id = p_tenant_ids[f.thread] and v.conversation_id = f.conversation_id
          limit 1
          for no key update
        ) as v
        where v.status <> 'RESOLVED' and v.contact_id = p_contact_ids[f.thread]
        """,
    ),
    Statement(
        "take_last_conversations",
        "conversations_contact_idx",
        THREADS
        | {
            "p_opens": ("boolean[]", "array[true, false]"),
            "p_last_ats": ("timestamptz[]", "array[now(), now()]"),
        },
        """
        select t.thread, p_tenant_ids[t.thread] as tenant_id, l.conversation_id
        from unnest(p_threads) as t (thread)
        join chatsync.inboxes b on b.inbox_id = p_inbox_ids[t.thread]
        cross join lateral (
          select v.conversation_id, coalesce(v.last_message_at, v.created_at) as last_at
          from chatsync.conversations v
          where v.tenant_id = p_tenant_ids[t.thread] and v.inbox_id = p_inbox_ids[t.thread]
            and v.contact_id = p_contact_ids[t.thread] and v.merged_into is null
          order by coalesce(v.last_message_at, v.created_at) desc, v.conversation_id desc
          limit 1
        ) as l
        where not p_opens[t.thread]
          or l.last_at >= p_last_ats[t.thread] - make_interval(hours => b.reopen_hours)
            and b.reopen_hours > 0
        order by l.conversation_id
        """,
    ),
    Statement(
        "merge_contacts",
        "contacts_merged_idx",
        TENANT | {"v_oldest": ("bigint", "5"), "v_others": ("bigint[]", "array[6, 7]")},
        """
        update chatsync.contacts
        set merged_into = v_oldest, version = version + 1, updated_at = chatsync.now()
        where tenant_id = p_tenant_id
          and (contact_id = any (v_others) or merged_into = any (v_others))
        """,
    ),
    Statement(
        "join_orphans",
        "orphans_received_idx",
        {"p_minutes": ("integer", "10")},
        """
        select o.item
        from chatsync.orphans o
        cross join lateral (
          select
          from chatsync.message_provider_ids k
          where k.tenant_id = o.tenant_id and k.inbox_id = o.inbox_id
            and k.provider_message_id = o.provider_message_id
          limit 1
        ) as k
        where o.received_at > chatsync.now() - make_interval(mins => p_minutes)
        limit 1000
        """,
    ),
    Statement(
        "told_attempts",
        "failed_attempts_correlation_idx",
        SINCE,
        """
        select *
        from chatsync.failed_attempts a
        where a.correlation_id = p_correlation_id and a.failed_at >= coalesce(p_since, '-infinity')
        """,
        role="chatsync_owner",
    ),
    Statement("told_attempts", "failed_messages_correlation_idx", SINCE, role="chatsync_owner"),
    Statement(
        "queue_story",
        "message_archive_correlation_idx",
        SINCE,
        """
        select a.id, a.queue, a.tenant_id, a.inbox_id, a.message_type, a.ordering_key, 'done',
          a.priority, a.metadata, a.created_at, a.processed_at, a.scheduled_at, a.retry_count,
          a.worker_id, a.last_error, null, a.done_at
        from chatsync.message_archive a
        where a.correlation_id = p_correlation_id and a.done_at >= coalesce(p_since, '-infinity')
        """,
        role="chatsync_owner",
    ),
    Statement(
        "resolve_inboxes",
        "inboxes_account_idx",
        {
            "p_provider": ("text", "'whatsapp_cloud'"),
            "p_external_ids": ("text[]", "array['7']"),
            "p_account_ids": ("text[]", "array['account 7']"),
        },
        role="chatsync_owner",
    ),
    Statement(
        "issue_ticket",
        "tickets_expiry_idx",
        {},
        """
        select t.ticket_hash
        from chatsync.tickets t
        where t.expires_at <= chatsync.now()
        order by t.expires_at
        limit 20
        for update skip locked
        """,
        role="chatsync_owner",
    ),
    Statement(
        "issue_ticket",
        "tickets_user_idx",
        {"p_claims": ("jsonb", """'{"tenant": "t1", "sub": "7"}'""")},
        """
        select count(*)
        from chatsync.tickets t
        where t.tenant_id = p_claims ->> 'tenant' and t.user_id = p_claims ->> 'sub'
          and t.expires_at > chatsync.now()
        """,
        role="chatsync_owner",
    ),
    Statement(
        "spend_ticket",
        "tickets_pkey",
        {"p_ticket_hash": ("bytea", "sha256('7')")},
        """
        delete from chatsync.tickets
        where ticket_hash = p_ticket_hash
        """,
        role="chatsync_owner",
    ),
    Statement(
        "told_presence",
        "presence_pkey",
        {"p_tenant_ids": ("text[]", "array['t1']")},
        """
        select p.tenant_id, p.user_id, p.node_id, p.status, p.sessions, p.name, p.seen_at
        from chatsync.presence p
        where p.tenant_id = any (p_tenant_ids)
        """,
        role="chatsync_gateway",
    ),
    Statement(
        "beat_node",
        "presence_node_idx",
        {"v_dead": ("text[]", "array['node 7']")},
        """
        select coalesce(array_agg(distinct p.tenant_id), '{}')
        from chatsync.presence p where p.node_id = any (v_dead)
        """,
        role="chatsync_owner",
    ),
]
