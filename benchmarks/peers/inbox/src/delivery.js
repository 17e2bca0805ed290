// A delivery of the WhatsApp Cloud API: its signature and its text messages.

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

/** Yields the messages of a delivery, each with its inbox's number and its sender. */
export function* messagesOf(delivery) {
  for (const entry of delivery.entry ?? []) {
    for (const { value } of entry.changes ?? []) {
      const names = new Map((value.contacts ?? []).map((c) => [c.wa_id, c.profile?.name]));
      for (const message of value.messages ?? []) {
        yield {
          phoneNumberId: value.metadata.phone_number_id,
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
}
