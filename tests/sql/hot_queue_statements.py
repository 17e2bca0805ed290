"""Statements on the hot paths of the queue, each with the index that was made for it."""

from sql.planning import Statement

QUEUE = {"p_queue": ("text", "'outbound'")}
LEASE = {"p_lease_id": ("bigint", "77")}
BUCKET = {
    "b.bucket": ("text", "'in_flight/tenant/t1'"),
    "b.room": ("bigint", "10"),
    "v_most": ("bigint", "100"),
}
RANK = {"p_from_rank": ("timestamp", "'2026-01-01'")}
TENANT = {"p_tenant_id": ("text", "'t1'")}

QUEUE_STATEMENTS = [
    Statement(
        "admit",
        "lane_turns_parked_idx",
        QUEUE | BUCKET,
        """
        select turn, rank
        from chatsync.lane_turns
        where queue = p_queue and is_parked and parked_by = b.bucket
        order by rank, turn
        limit least(b.room, v_most)
        """,
    ),
    Statement(
        "admit",
        "message_queue_paused_idx",
        QUEUE | BUCKET,
        """
        select id, (scheduled_at at time zone 'UTC') - priority * interval '10 seconds' as rank
        from chatsync.message_queue
        where queue = p_queue and keyless_status = 'paused' and parked_by = b.bucket
        order by (scheduled_at at time zone 'UTC') - priority * interval '10 seconds', id
        limit least(b.room, v_most)
        """,
    ),
    Statement(
        "admit",
        "lane_turns_ready_idx",
        QUEUE | {"p_limit": ("integer", "10")},
        """
        select rank
        from chatsync.lane_turns
        where queue = p_queue and not is_suspect and lease_id is null and not is_parked
          and not is_waiting
        order by rank, turn
        offset p_limit limit 1
        """,
    ),
    Statement(
        "settle",
        "limit_buckets_crowded_idx",
        LEASE,
        """
        select from chatsync.limit_buckets where is_crowded
        """,
    ),
    Statement(
        "count_in_flight",
        "message_queue_lease_idx",
        QUEUE,
        """
        select tenant_id, inbox_id
        from chatsync.leased_messages
        where queue = p_queue
        """,
    ),
    Statement(
        "promote",
        "message_queue_due_idx",
        QUEUE,
        """
        select id
        from chatsync.message_queue
        where queue = p_queue and is_later and scheduled_at <= chatsync.now()
        order by scheduled_at
        limit 500
        for no key update skip locked
        """,
    ),
    Statement(
        "promote",
        "lane_turns_due_idx",
        QUEUE,
        """
        select turn
        from chatsync.lane_turns
        where queue = p_queue and lease_id is null and not is_parked and is_waiting
          and ready_at <= chatsync.now()
        order by ready_at
        limit 500
        for update skip locked
        """,
    ),
    Statement(
        "claim_from_lanes",
        "lane_turns_ready_idx",
        QUEUE | RANK | {"p_is_suspect": ("boolean", "false"), "v_turns": ("integer", "16")},
        """
        select lane, turn, from_id
        from chatsync.lane_turns
        where queue = p_queue and is_suspect = p_is_suspect and lease_id is null
          and not is_parked and not is_waiting and rank >= coalesce(p_from_rank, '-infinity')
        order by rank, turn
        limit v_turns
        for update skip locked
        """,
    ),
    Statement(
        "claim_from_lanes",
        "message_queue_lane_idx",
        {
            "v_lanes": ("text[]", "array['outbound/t1/1', 'outbound/t1/2']"),
            "v_turn_ids": ("bigint[]", "array[1, 2]"),
            "v_from_ids": ("bigint[]", "array[1, 2]"),
            "v_claimed": ("bigint[]", "'{}'"),
            "p_limit": ("integer", "100"),
            "p_is_suspect": ("boolean", "false"),
        },
        """
        select l.lane, l.turn, l.position, m.id, m.must_wait
        from unnest(v_lanes, v_turn_ids) with ordinality as l (lane, turn, position)
        cross join lateral (
          select least(
            coalesce(v_from_ids[l.position], 0),
            (select min(e.id) from chatsync.late_entries e where e.lane = l.lane)) as from_id
        ) as f
        cross join lateral (
          select id,
            (status = 'retrying' and scheduled_at > chatsync.now())
              or (deaths > 0 and not p_is_suspect) as must_wait
          from chatsync.message_queue
          -- As one range, as in let_lanes_go().
          where lane_key is not null and (lane_key, id) >= (l.lane, f.from_id)
            and (lane_key, id) <= (l.lane, 9223372036854775807)
            and status in ('pending', 'retrying')
          order by lane_key, id
          limit p_limit - cardinality(v_claimed)
          for no key update
        ) as m
        limit p_limit - cardinality(v_claimed)
        """,
    ),
    Statement(
        "claim_keyless",
        "message_queue_ready_idx",
        QUEUE | RANK | {"v_look": ("integer", "100"), "v_claimed": ("bigint[]", "'{}'")},
        """
        select id
        from chatsync.message_queue
        -- Its own locks are none that a transaction skips.
        where queue = p_queue and keyless_status = 'pending' and deaths = 0
          and id <> all (v_claimed)
          and (scheduled_at at time zone 'UTC') - priority * interval '10 seconds'
            >= coalesce(p_from_rank, '-infinity')
        order by (scheduled_at at time zone 'UTC') - priority * interval '10 seconds', id
        limit v_look
        for no key update skip locked
        """,
    ),
    Statement(
        "claim_keyless",
        "message_queue_suspect_idx",
        QUEUE,
        """
        select id
        from chatsync.message_queue
        where queue = p_queue and keyless_status = 'pending' and deaths > 0
        order by id
        limit 1
        for no key update skip locked
        """,
    ),
    Statement(
        "unpark",
        "lane_turns_parked_idx",
        QUEUE,
        """
        update chatsync.lane_turns t
        set is_parked = false
        from chatsync.queue_lanes q
        where t.queue = p_queue and t.is_parked and t.parked_by is null and q.lane = t.lane
          and not chatsync.is_paused(q.queue, q.tenant_id, q.inbox_id, q.ordering_key)
        """,
    ),
    Statement(
        "unpark",
        "message_queue_paused_idx",
        QUEUE,
        """
        update chatsync.message_queue m
        set status = 'pending'
        where m.queue = p_queue and m.keyless_status = 'paused' and m.parked_by is null
          and not chatsync.is_paused(m.queue, m.tenant_id, m.inbox_id, m.ordering_key)
        """,
    ),
    Statement("next_ready_at", "lane_turns_due_idx", QUEUE),
    Statement("next_ready_at", "message_queue_due_idx", QUEUE),
    Statement(
        "settle",
        "message_queue_lease_idx",
        LEASE,
        "select from chatsync.leased_messages where lease_id = p_lease_id",
    ),
    Statement(
        "settle",
        "message_queue_lane_idx",
        LEASE,
        "select from chatsync.leased_messages where lease_id = p_lease_id",
    ),
    Statement(
        "settle_some",
        "lane_turns_lease_idx",
        LEASE,
        """
        select m.lane_key
        from chatsync.leased_messages m
        where m.lease_id = p_lease_id and m.lane_key is not null
        """,
    ),
    Statement(
        "release",
        "lane_turns_lease_idx",
        LEASE,
        "update chatsync.lane_turns"
        " set lease_id = null, worker_id = null, first_id = null, last_id = null"
        " where lease_id = p_lease_id",
    ),
    Statement(
        "let_lanes_go",
        "message_queue_lane_idx",
        {"l.lane": ("text", "'outbound/t1/1'"), "f.from_id": ("bigint", "0")},
        """
        select m.id, m.priority, m.status, m.scheduled_at, m.deaths
        from chatsync.message_queue m
        -- As one range: an equality and a bound on ids would do for the primary key as well.
        where m.lane_key is not null and (m.lane_key, m.id) >= (l.lane, f.from_id)
          and (m.lane_key, m.id) <= (l.lane, 9223372036854775807)
        order by m.lane_key, m.id
        limit 1
        """,
    ),
    Statement("low_water", "low_waters_pkey", {"p_name": ("text", "'messages'")}),
    Statement(
        "enqueue",
        "message_queue_dedupe_idx",
        QUEUE | TENANT | {"p_dedupe_key": ("text", "'d5'")},
        "select id from chatsync.message_queue"
        " where queue = p_queue and tenant_id = p_tenant_id and dedupe_key = p_dedupe_key",
    ),
    Statement(
        "attempts_of",
        "failed_attempts_message_idx",
        {"p_message_id": ("bigint", "7")},
        """
        select *
        from chatsync.failed_attempts
        where message_id = p_message_id
        order by failed_at desc, attempt desc
        limit 100
        """,
    ),
    Statement(
        "expire_dead_letters",
        "failed_messages_expiry_idx",
        {
            "q.queue": ("text", "'inbound'"),
            "k.days": ("integer", "90"),
            "p_limit": ("integer", "1000"),
        },
        """
        select f.id
        from chatsync.failed_messages f
        where f.queue = q.queue and f.failed_at < chatsync.now() - make_interval(days => k.days)
        order by f.failed_at
        limit p_limit
        for update skip locked
        """,
        role="chatsync_owner",
    ),
]
