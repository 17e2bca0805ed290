-- No release had the functions that are dropped here:
-- squawk-ignore-file ban-drop-function

-- What reads conversations is told who asks. A function with other arguments is another function: the
-- old ones would go on showing everything.
drop function if exists chatsync.list_conversations(
  text, integer, timestamptz, bigint, text, text, bigint);
drop function if exists chatsync.get_conversation(text, bigint);
drop function if exists chatsync.snapshot_page(text, bigint, integer);
drop function if exists chatsync.changes(text, bigint, bigint, integer);
