-- Who may hear what. An operator may replace can_subscribe() and can_access_conversation() with their
-- own, and calls access_changed() in the transaction after which they answer differently.

-- Whether the holder of a token may hear a conversation: every one of their tenant. A foreign
-- conversation and an unknown one are alike.
create or replace function chatsync.can_access_conversation(p_claims jsonb, p_conversation_id bigint)
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from chatsync.conversations v
    where v.tenant_id = p_claims ->> 'tenant' and v.conversation_id = p_conversation_id)
$$;

-- Asked by what reads conversations: whether the rule is the one above, by which everybody sees all of
-- their tenant's, so that no row needs to be judged. The hash is of that function's body.
create or replace function chatsync.sees_all_conversations() returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce((
    select md5(p.prosrc) = 'abfb3409f6fc466857f145ac2fb32d1c'
    from pg_proc p
    where p.oid = to_regprocedure('chatsync.can_access_conversation(jsonb, bigint)')), false)
$$;

-- Whether the holder of a token, {tenant, sub, role}, may hear all of the topics: their own tenant,
-- user and presence, and the conversations that they have access to.
create or replace function chatsync.can_subscribe(p_claims jsonb, p_topics text[]) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(bool_and(
    t.topic = 'tenant:' || (p_claims ->> 'tenant')
    or t.topic = 'user:' || (p_claims ->> 'sub')
    or t.topic = 'presence:' || (p_claims ->> 'tenant')
    or case
      when t.topic ~ '^conversation:[0-9]{1,18}$'
        then chatsync.can_access_conversation(p_claims, substr(t.topic, 14)::bigint)
      else false
    end), true)
  from unnest(p_topics) as t (topic)
$$;

-- Called by gateways: which of the topics the holder of the claims may not hear, by can_subscribe().
-- It is asked for each topic only when it does not grant all of them at once.
create or replace function chatsync.refused_topics(p_claims jsonb, p_topics text[]) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if chatsync.can_subscribe(p_claims, p_topics) then
    return '{}';
  end if;
  return (
    select coalesce(array_agg(t.topic order by t.position), '{}')
    from unnest(p_topics) with ordinality as t (topic, position)
    where chatsync.can_subscribe(p_claims, array[t.topic]) is not true);
end
$$;

-- Asked where not everybody sees everything: whether the holder of the claims may see a contact of their
-- tenant. It is seen by whoever sees a conversation with it, and by everybody as long as there is none.
create or replace function chatsync.can_see_contact(p_claims jsonb, p_contact_id bigint) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(
    bool_or(chatsync.can_access_conversation(p_claims, v.conversation_id)), count(*) = 0)
  from chatsync.conversations v
  where v.tenant_id = p_claims ->> 'tenant' and v.contact_id = p_contact_id
$$;

-- Called by gateways where not everybody sees everything: which of these, conversation:ID and contact:ID,
-- the holder of the claims may see.
create or replace function chatsync.visible(p_claims jsonb, p_subjects text[]) returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(array_agg(s.subject), '{}')
  from (
    select t.subject, split_part(t.subject, ':', 1) as kind, split_part(t.subject, ':', 2)::bigint as id
    from unnest(p_subjects) as t (subject)
    where t.subject ~ '^(conversation|contact):[0-9]{1,18}$'
  ) as s
  where case s.kind
    when 'conversation' then chatsync.can_access_conversation(p_claims, s.id)
    else chatsync.can_see_contact(p_claims, s.id)
  end
$$;

-- Called by gateways for many sessions at once: refused_topics() of each {tenant, sub, role, topics}, in
-- their order. Each is asked with its own tenant in sight alone, and of a state that is no older than
-- this call. When that takes long it answers the first few, one at least.
create or replace function chatsync.refused_topics_of_each(p_questions jsonb) returns setof text[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_question jsonb;
  v_until timestamptz := clock_timestamp() + interval '250 ms';
begin
  for v_question in select q.question from jsonb_array_elements(p_questions) as q (question)
  loop
    perform set_config('chatsync.tenants', v_question ->> 'tenant', true);
    return next chatsync.refused_topics(
      v_question - 'topics',
      array(select t.topic from jsonb_array_elements_text(v_question -> 'topics') as t (topic)));
    exit when clock_timestamp() > v_until;
  end loop;
end
$$;

-- Called by an operator, in the transaction that changes what a user may hear: their sessions are
-- judged anew before they are given anything that is committed after it.
create or replace function chatsync.access_changed(p_tenant_id text, p_user_id text) returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  select chatsync.publish(
    p_tenant_id, array['user:' || p_user_id], 'access:changed',
    jsonb_build_object('userId', p_user_id))
$$;

grant execute on function
  chatsync.can_access_conversation(jsonb, bigint),
  chatsync.can_see_contact(jsonb, bigint),
  chatsync.refused_topics(jsonb, text[]),
  chatsync.sees_all_conversations(),
  chatsync.visible(jsonb, text[]),
  chatsync.can_subscribe(jsonb, text[])
to chatsync_gateway, chatsync_worker;
grant execute on function chatsync.refused_topics_of_each(jsonb) to chatsync_gateway;
grant execute on function chatsync.access_changed(text, text) to chatsync_operator, chatsync_worker;
