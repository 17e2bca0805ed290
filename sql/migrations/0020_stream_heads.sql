-- The head of a log moves with each stamp, and while any transaction stays open no row that it replaced
-- can be removed: in a table of its own the newest row is met first, however many were before it.
-- No release had the column and the rule that are dropped here:
-- squawk-ignore-file ban-drop-constraint, ban-drop-column, constraint-missing-not-valid

create table chatsync.stream_heads (
  tenant_id text not null,
  head bigint not null,
  primary key (tenant_id, head),
  constraint head_is_not_negative check (head >= 0)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
comment on table chatsync.stream_heads is
  'Where each tenant''s log ends: one row a tenant, which stamps replace under their lock.';
select chatsync.protect_tenant_table('chatsync.stream_heads');
grant select on chatsync.stream_heads to chatsync_worker, chatsync_gateway;

-- First what locks the table: no stamp may raise a head that was copied.
alter table chatsync.streams drop constraint trimmed_is_behind_head;
insert into chatsync.stream_heads (tenant_id, head) select tenant_id, head from chatsync.streams;
alter table chatsync.streams
  drop column head,
  add constraint trimmed_to_is_not_negative check (trimmed_to >= 0);
comment on table chatsync.streams is
  'Where each tenant''s log begins, and its epoch; where it ends is in stream_heads.';
