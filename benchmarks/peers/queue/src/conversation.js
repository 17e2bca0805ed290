// What a measured Node program is told on its standard input, and what it answers: JSON, by lines.
// Standard output is for answers alone.
import { createInterface } from 'node:readline'

const PAYLOAD_BYTES = 700
const now = () => Number(process.hrtime.bigint()) / 1e6

/** Counts what comes to the handler: how often each message, and whether its key is in order. */
export class Tally {
  handled = 0
  firstAt = 0
  disorder = 0
  #last = new Map()
  #times
  #count

  constructor(count) {
    this.#count = count
    this.#times = new Uint8Array(count)
    this.isComplete = new Promise((resolve) => (this.resolve = resolve))
  }

  add({ n, key }) {
    if (!this.handled) this.firstAt = now()
    this.handled += 1
    this.#times[n] += 1
    if (key !== null) {
      if ((this.#last.get(key) ?? -1) > n) this.disorder += 1
      this.#last.set(key, n)
    }
    if (this.handled === this.#count) this.resolve()
  }

  told(beganAt) {
    return {
      handled: this.handled,
      distinct: this.#times.reduce((sum, times) => sum + (times > 0), 0),
      disorder: this.disorder,
      first_ms: this.firstAt - beganAt,
    }
  }
}

/** Messages of so many keys in turns, or of none. */
function payloads(count, keys) {
  return Array.from({ length: count }, (_, n) => {
    const payload = { n, key: keys ? `key-${n % keys}` : null, text: '' }
    payload.text = 'x'.repeat(PAYLOAD_BYTES - JSON.stringify(payload).length)
    return payload
  })
}

export function batches(messages, size) {
  const made = []
  for (let start = 0; start < messages.length; start += size) {
    made.push(messages.slice(start, start + size))
  }
  return made
}

/** Await what a function returns for each part, so many at once. */
export async function inTurns(parts, concurrency, call) {
  const left = parts[Symbol.iterator]()
  const work = async () => {
    for (const part of left) await call(part)
  }
  await Promise.all(Array.from({ length: concurrency }, work))
}

/** Do what is asked until the input ends. */
export async function converse(program) {
  const lines = createInterface({ input: process.stdin })
  let interrupt = () => {}
  let last = Promise.resolve()
  let tally
  let beganAt = 0

  const doings = {
    install: () => program.install(),
    async enqueue({ count, keys, settings }) {
      const messages = payloads(count, keys)
      const started = now()
      await program.enqueue(messages, settings)
      return { seconds: (now() - started) / 1e3 }
    },
    ready: ({ settings }) => program.ready?.(settings),
    async drain({ count, keys, settings }) {
      tally = new Tally(count)
      beganAt = now()
      await program.begin(tally, keys, settings)
      // The driver may lose its patience, and asks for the end before.
      await Promise.race([tally.isComplete, new Promise((resolve) => (interrupt = resolve))])
    },
    async end() {
      await program.end()
      return tally.told(beganAt)
    },
  }

  lines.on('line', (line) => {
    const asked = JSON.parse(line)
    interrupt()
    last = last.then(async () => {
      const answer = await doings[asked.do](asked)
      process.stdout.write(`${JSON.stringify(answer ?? {})}\n`)
    })
  })
  lines.on('close', () => last.finally(() => process.exit(0)))
}
