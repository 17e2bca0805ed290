// The usual stack in one process: Express, BullMQ and its worker, pg, Socket.IO.
//
// Who connects is not checked: a check is made once per connection and would not change a figure.
// No request log, no helmet: chatsync writes no line and no such header per webhook either.

import { createServer } from 'node:http';

import express from 'express';
import { Server } from 'socket.io';

import { isSigned, messagesOf, splitByNumber } from './delivery.js';
import { announce, roomOf } from './events.js';
import { enqueue, openQueue, openWorker } from './queue.js';
import { load } from './settings.js';
import { Store } from './store.js';

const settings = load();
const store = new Store(settings);
const queue = openQueue(settings);

const app = express();
app.disable('x-powered-by');
app.disable('etag');
app.post(
  '/webhooks/whatsapp',
  express.raw({ type: () => true, limit: '4mb' }),
  async (request, response) => {
    if (!isSigned(request.body, request.get('x-hub-signature-256'), settings.appSecret)) {
      response.sendStatus(401);
      return;
    }
    const parts = splitByNumber(JSON.parse(request.body.toString()));
    await Promise.all(Array.from(parts, ([number, changes]) => accept(number, changes)));
    response.sendStatus(200);
  },
);
app.use((error, _request, response, _next) => {
  console.error('webhook', error);
  response.sendStatus(error instanceof SyntaxError ? 400 : 503);
});

/** Returns when Redis has the changes of an inbox. */
async function accept(phoneNumberId, changes) {
  const inbox = await store.inboxOf(phoneNumberId);
  if (inbox) {
    await enqueue(queue, { inbox, changes });
  } else {
    console.warn('nobody owns the number', phoneNumberId);
  }
}

const server = createServer(app);
server.keepAliveTimeout = 60_000;
const io = new Server(server, { transports: ['websocket'], serveClient: false });
io.on('connection', (socket) => socket.join(roomOf(socket.handshake.auth.tenant)));

const worker = openWorker(settings, async ({ inbox, changes }) => {
  for (const message of messagesOf(changes)) {
    const change = await store.apply(inbox, message);
    if (change) {
      announce(io, change);
    }
  }
});

function startWorker() {
  worker.run().catch((error) => {
    console.error('worker', error);
    process.exit(1);
  });
}

// Pauses a running worker and resumes a paused one, so that a backlog can be measured.
async function togglePause() {
  if (worker.isRunning() && !worker.isPaused()) {
    await worker.pause();
    console.log('paused');
    return;
  }
  if (worker.isPaused()) {
    worker.resume();
  } else {
    startWorker();
  }
  console.log('resumed');
}

async function stop() {
  await worker.close();
  process.exit(0);
}

process.once('SIGTERM', stop);
await Promise.all([queue.waitUntilReady(), store.warm()]);
process.on('SIGUSR2', togglePause);
if (!settings.startsPaused) {
  startWorker();
}
server.listen(settings.port, '127.0.0.1', () => {
  console.log('listening', server.address().port);
});
