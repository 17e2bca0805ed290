// The two events of a stored message, as agents' browsers get them.

/** Emits message:new and conversation:updated to everybody in the tenant's room. */
export function announce(io, change) {
  const room = io.to(roomOf(change.inbox.tenant_id));
  const message = messageOf(change);
  room.emit('message:new', { conversationId: message.conversationId, message });
  room.emit('conversation:updated', {
    conversationId: message.conversationId,
    conversation: conversationOf(change, message),
  });
}

export function roomOf(tenantId) {
  return `tenant:${tenantId}`;
}

function messageOf({ inbox, contact, conversation, messageId, message }) {
  return {
    id: messageId,
    conversationId: conversation.id,
    inboxId: inbox.id,
    providerMessageId: message.providerMessageId,
    direction: 'INBOUND',
    type: message.type,
    content: message.content,
    metadata: {},
    status: 'DELIVERED',
    timestamp: message.sentAt.toISOString(),
    origin: 'live',
    contact: contactOf(contact),
  };
}

function conversationOf({ inbox, contact, conversation }, lastMessage) {
  return {
    id: conversation.id,
    inboxId: inbox.id,
    contact: contactOf(contact),
    status: conversation.status,
    assigneeId: null,
    unreadCount: conversation.unread_count,
    lastMessage,
    lastMessageAt: conversation.last_message_at.toISOString(),
    createdAt: conversation.created_at.toISOString(),
    updatedAt: conversation.updated_at.toISOString(),
  };
}

function contactOf(contact) {
  return { id: contact.id, phoneNumber: contact.phone_number, name: contact.name };
}
