-- What clients acknowledged, by device: the offline queue is the log from there on.

create table chatsync.receipts (
  tenant_id text not null,
  user_id text not null,
  device text not null,
  session_id text not null,
  is_open boolean not null default true,
  epoch text,
  seq bigint,
  topics text[],
  seen_at timestamptz not null default chatsync.now(),
  constraint device_has_one_receipt primary key (tenant_id, user_id, device),
  constraint position_is_whole check (
    (epoch is null) = (seq is null) and (epoch is null) = (topics is null)),
  constraint names_are_short check (
    length(tenant_id) between 1 and 63 and length(device) between 1 and 200)
  -- No other index, so that an update stays on its page; forget_receipts() reads all once an hour.
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
comment on table chatsync.receipts is
  'How far each device of each agent acknowledged the log; written in batches.';
comment on column chatsync.receipts.session_id is
  'The session that the device belongs to: it alone moves the receipt.';
comment on column chatsync.receipts.is_open is
  'Whether that session has not ended; it stays true when its gateway is killed.';
comment on column chatsync.receipts.epoch is
  'With seq: the acknowledged position; null until the device acknowledges something.';
comment on column chatsync.receipts.topics is 'The topics for which the position is true.';
comment on column chatsync.receipts.seen_at is
  'When the device connected, acknowledged or left last: the offline queue counts from here.';
select chatsync.protect_tenant_table('chatsync.receipts');
grant select on chatsync.receipts to chatsync_worker;
