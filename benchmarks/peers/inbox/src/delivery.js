// A delivery of the WhatsApp Cloud API: its signature, its inboxes, its messages.

import { createHmac, timingSafeEqual } from 'node:crypto';

/** Checks X-Hub-Signature-256 over the raw bytes. */
export function isSigned(body, header, secret) {
  if (!header?.startsWith('sha256=')) {
    return false;
  }
  const given = Buffer.from(header.slice(7), 'hex');
  const expected = createHmac('sha256', secret).update(body).digest();
  return given.length === expected.length && timingSafeEqual(given, expected);
}

/** Returns the changes of a delivery by the number they are for: Meta may put several into one. */
export function splitByNumber(delivery) {
  const parts = new Map();
  for (const entry of delivery.entry ?? []) {
    for (const { value } of entry.changes ?? []) {
      const number = value.metadata.phone_number_id;
      const part = parts.get(number);
      if (part) {
        part.push(value);
      } else {
        parts.set(number, [value]);
      }
    }
  }
  return parts;
}

/** Yields the messages of some changes, each with its sender. */
export function* messagesOf(changes) {
  for (const value of changes) {
    const names = new Map((value.contacts ?? []).map((c) => [c.wa_id, c.profile?.name]));
    for (const message of value.messages ?? []) {
      yield {
        phoneNumber: message.from,
        name: names.get(message.from) ?? null,
        providerMessageId: message.id,
        type: message.type.toUpperCase(),
        content: message.text?.body ?? null,
        sentAt: new Date(Number(message.timestamp) * 1000),
      };
    }
  }
}
