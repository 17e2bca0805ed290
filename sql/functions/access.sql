-- Who may hear what. An operator may replace these functions with their own.

-- Which of the topics the holder of a token may not hear: their own tenant, user and presence are
-- granted, and the conversations of their tenant. A foreign conversation and an unknown one are alike.
create or replace function chatsync.refused_topics(p_claims jsonb, p_topics text[]) returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(array_agg(t.topic order by t.position), '{}')
  from unnest(p_topics) with ordinality as t (topic, position)
  where t.topic <> 'tenant:' || (p_claims ->> 'tenant')
    and t.topic <> 'user:' || (p_claims ->> 'sub')
    and t.topic <> 'presence:' || (p_claims ->> 'tenant')
    and not (
      t.topic ~ '^conversation:[0-9]{1,18}$'
      and exists (
        select from chatsync.conversations v
        where v.tenant_id = p_claims ->> 'tenant'
          and v.conversation_id = nullif(regexp_replace(t.topic, '^conversation:([0-9]{1,18})$|^.*$', '\1'), '')::bigint))
$$;

create or replace function chatsync.can_subscribe(p_claims jsonb, p_topics text[]) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select cardinality(chatsync.refused_topics(p_claims, p_topics)) = 0
$$;

grant execute on function
  chatsync.refused_topics(jsonb, text[]),
  chatsync.can_subscribe(jsonb, text[])
to chatsync_gateway, chatsync_worker;
