-- What applications publish over HTTP. An operator may replace this function with their own.

-- Called by a gateway. Which of the topics, spelled out, the holder of a token may not publish to: a
-- tenant or a presence that is not theirs, a conversation that their tenant does not have, and what is no
-- topic. Any user may be named, since only those of the tenant hear the tenant's log.
create or replace function chatsync.unpublishable_topics(p_claims jsonb, p_topics text[]) returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(array_agg(t.topic order by t.position), '{}')
  from unnest(p_topics) with ordinality as t (topic, position)
  where not case split_part(t.topic, ':', 1)
    when 'tenant' then t.topic = 'tenant:' || (p_claims ->> 'tenant')
    when 'presence' then t.topic = 'presence:' || (p_claims ->> 'tenant')
    when 'conversation' then exists (
      select from chatsync.conversations v
      where v.tenant_id = p_claims ->> 'tenant'
        and v.conversation_id = substring(t.topic from '^conversation:([1-9][0-9]{0,17})$')::bigint)
    else t.topic ~ '^[a-z][a-z0-9_-]{0,62}:.'
  end
$$;

grant execute on function chatsync.unpublishable_topics(jsonb, text[]) to chatsync_gateway;
grant execute on function chatsync.publish(text, text[], text, jsonb, text) to chatsync_gateway;
