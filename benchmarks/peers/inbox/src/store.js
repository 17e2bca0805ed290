// The write side: one transaction per message, each statement prepared once per connection.

import pg from 'pg';

// Writes nothing for a contact that is known under this name, which is nearly always so.
const UPSERT_CONTACT = {
  name: 'upsert_contact',
  text: `
    with written as (
      insert into contacts as c (tenant_id, phone_number, name) values ($1, $2, $3)
      on conflict (tenant_id, phone_number) do update set name = excluded.name
        where c.name is distinct from excluded.name
      returning id, phone_number, name
    )
    select id, phone_number, name from written
    union all
    select id, phone_number, name from contacts where tenant_id = $1 and phone_number = $2
    limit 1`,
};

const FIND_CONVERSATION = {
  name: 'find_conversation',
  text: `
    select id from conversations
    where inbox_id = $1 and contact_id = $2 and status <> 'RESOLVED'`,
};

const CREATE_CONVERSATION = {
  name: 'create_conversation',
  text: `
    insert into conversations (tenant_id, inbox_id, contact_id) values ($1, $2, $3)
    on conflict (inbox_id, contact_id) where status <> 'RESOLVED' do nothing
    returning id`,
};

const INSERT_MESSAGE = {
  name: 'insert_message',
  text: `
    insert into messages (tenant_id, inbox_id, conversation_id, provider_message_id, direction,
      type, content, status, sent_at)
    values ($1, $2, $3, $4, 'INBOUND', $5, $6, 'DELIVERED', $7)
    on conflict (inbox_id, provider_message_id) do nothing
    returning id`,
};

const UPDATE_CONVERSATION = {
  name: 'update_conversation',
  text: `
    update conversations
    set unread_count = unread_count + 1, last_message_id = $2,
      last_message_at = greatest(last_message_at, $3), updated_at = now()
    where id = $1
    returning id, status, unread_count, last_message_at, created_at, updated_at`,
};

export class Store {
  #pool;
  #inboxes = new Map();

  constructor({ databaseUrl, concurrency }) {
    this.#pool = new pg.Pool({
      connectionString: databaseUrl,
      max: concurrency,
      idleTimeoutMillis: 0, // a paused worker keeps its connections
    });
    this.#pool.on('error', (error) => console.error('pool', error));
  }

  /** Connects once for each job that may run, so that no job pays for it. */
  async warm() {
    const size = this.#pool.options.max;
    const clients = await Promise.all(Array.from({ length: size }, () => this.#pool.connect()));
    clients.forEach((client) => client.release());
  }

  /** Returns the inbox of a number, from memory when it was asked for before; or undefined. */
  async inboxOf(phoneNumberId) {
    let inbox = this.#inboxes.get(phoneNumberId);
    if (!inbox) {
      const found = await this.#pool.query(
        'select id, tenant_id from inboxes where phone_number_id = $1',
        [phoneNumberId],
      );
      [inbox] = found.rows;
      if (inbox) {
        this.#inboxes.set(phoneNumberId, inbox);
      }
    }
    return inbox;
  }

  /** Stores a message; returns what changed, or null when it was stored before. */
  async apply(inbox, message) {
    const client = await this.#pool.connect();
    try {
      await client.query('begin');
      const change = await applyTo(client, inbox, message);
      await client.query('commit');
      client.release();
      return change;
    } catch (error) {
      client.release(error); // a connection in an unknown state is not used again
      throw error;
    }
  }
}

async function applyTo(client, inbox, message) {
  const contact = await one(client, UPSERT_CONTACT, [
    inbox.tenant_id,
    message.phoneNumber,
    message.name,
  ]);
  const conversationId = await openConversation(client, inbox, contact.id);
  const stored = await one(client, INSERT_MESSAGE, [
    inbox.tenant_id,
    inbox.id,
    conversationId,
    message.providerMessageId,
    message.type,
    message.content,
    message.sentAt,
  ]);
  if (!stored) {
    return null;
  }
  const conversation = await one(client, UPDATE_CONVERSATION, [
    conversationId,
    stored.id,
    message.sentAt,
  ]);
  return { inbox, contact, conversation, messageId: stored.id, message };
}

async function openConversation(client, inbox, contactId) {
  const keys = [inbox.id, contactId];
  const found =
    (await one(client, FIND_CONVERSATION, keys)) ??
    (await one(client, CREATE_CONVERSATION, [inbox.tenant_id, ...keys])) ??
    // Another job made it between the two statements.
    (await one(client, FIND_CONVERSATION, keys));
  return found.id;
}

async function one(client, statement, values) {
  const { rows } = await client.query({ ...statement, values });
  return rows[0];
}
