import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { SignalClient } from "../../../../src/client/client.ts"
import { BatchProcessor } from "../../../../src/client/processor.ts"
import { openSpool } from "../../../../src/client/spool/spool.ts"
import { run } from "../../../node/cli/import/importer.ts"
import { envelope, signedRequest } from "../../../setup/slack.ts"
import type { Stand } from "./stand.ts"

/**
 * One way in. It sends signals whose `raw_content` are `texts`, as a sender that keeps its word: until each
 * is acknowledged.
 */
export interface Sender {
  name: string
  /** Whether it is acknowledged before the database has it. */
  queued: boolean
  send(stand: Stand, texts: readonly string[]): Promise<void>
}

const PAUSE_MS = 100
const CONVERSATION = "matrix"
const signal = (text: string, more: object = {}) => ({
  context_window_id: CONVERSATION,
  raw_content: text,
  ...more,
})

/** Posts until the status is a success, as a sender does that takes everything else for "not yet". */
async function postUntilAccepted(
  url: string,
  body: BodyInit,
  headers: Record<string, string>,
): Promise<void> {
  for (;;) {
    const response = await fetch(url, { method: "POST", body, headers }).catch(() => undefined)
    if (response?.ok && (await response.text().catch(() => undefined)) !== undefined) return
    // A broken connection says nothing about the batch; only an identity makes sending again safe.
    await sleep(PAUSE_MS)
  }
}

const JSON_TYPE = { "Content-Type": "application/json" }
const SIZE = 5
const chunks = (texts: readonly string[]) =>
  Array.from({ length: Math.ceil(texts.length / SIZE) }, (_, at) => texts.slice(at * SIZE, (at + 1) * SIZE))

/**
 * A batch without any identity: an answer in doubt is resolved by the ledger. What has no answer at all was
 * not acknowledged, and whoever sends it again without a key may store it twice; so it gets other texts,
 * which count as another batch.
 */
const withoutKey: Sender = {
  name: "batch, best effort, without a key",
  queued: false,
  async send({ address }, texts) {
    for (const chunk of chunks(texts)) while (!(await sendKeyless(address, chunk))) await sleep(PAUSE_MS)
  },
}

async function sendKeyless(address: string, texts: readonly string[]): Promise<boolean> {
  const answer = await postKeyless(address, texts)
  if (answer.stored) return true
  if (answer.unanswered) {
    // The table is the judge here, since the ledger's id went with the answer.
    for (;;) {
      const found = await listTexts(address).catch(() => undefined)
      if (found) return texts.every((text) => found.has(text))
      await sleep(PAUSE_MS)
    }
  }
  if (answer.transactionId === undefined) return false
  for (;;) {
    const record = await fetch(`${address}/api/batches/${answer.transactionId}`).catch(() => undefined)
    if (record?.status === 200 || record?.status === 404) return record.status === 200
    await sleep(PAUSE_MS)
  }
}

async function postKeyless(address: string, texts: readonly string[]) {
  try {
    const body = JSON.stringify({ signals: texts.map((text) => signal(text)) })
    const response = await fetch(`${address}/api/signals/batch`, { method: "POST", headers: JSON_TYPE, body })
    const { transaction_id: transactionId } = (await response.json()) as { transaction_id?: string }
    return { stored: response.ok, transactionId, unanswered: false }
  } catch {
    return { stored: false, transactionId: undefined, unanswered: true }
  }
}

async function listTexts(address: string): Promise<Set<string>> {
  const response = await fetch(`${address}/api/signals?context_window_id=${CONVERSATION}&limit=1000`)
  if (!response.ok) throw new Error(`status ${response.status}`)
  const { signals } = (await response.json()) as { signals: { raw_content: string }[] }
  return new Set(signals.map(({ raw_content }) => raw_content))
}

const single: Sender = {
  name: "single signal",
  queued: false,
  async send({ address }, texts) {
    for (const text of texts)
      await postUntilAccepted(
        `${address}/api/signals`,
        JSON.stringify(signal(text, { dedupe_key: text })),
        JSON_TYPE,
      )
  },
}

const slack: Sender = {
  name: "Slack webhook",
  queued: true,
  async send({ address }, texts) {
    for (const [index, text] of texts.entries()) {
      const ts = `${Math.floor(Date.now() / 1000)}.${String(nextNumber++).padStart(6, "0")}`
      const event = { type: "message", channel: "C1", user: "U1", text, ts, event_ts: ts }
      const { headers, body } = signedRequest(
        Buffer.from(JSON.stringify(envelope(event, `Ev${index}${text}`))),
      )
      await postUntilAccepted(`${address}/webhooks/slack`, new Uint8Array(body), headers)
    }
  },
}
let nextNumber = 0

const kafka: Sender = {
  name: "Kafka webhook",
  queued: true,
  async send({ address }, texts) {
    for (const chunk of chunks(texts)) {
      const records = chunk.map((text) => ({
        ...{ topic: "chat", partition: 0, offset: nextNumber++, timestamp: 1_760_000_000_000 },
        ...{ key: CONVERSATION, value: { text } },
      }))
      await postUntilAccepted(`${address}/webhooks/kafka`, JSON.stringify({ records }), JSON_TYPE)
    }
  },
}

const inFolder = async (work: (folder: string) => Promise<void>) => {
  const folder = await mkdtemp(join(tmpdir(), "signal-ingest-matrix-"))
  try {
    await work(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const library: Sender = {
  name: "library with a spool",
  queued: false,
  send: ({ address }, texts) =>
    inFolder(async (folder) => {
      const client = new SignalClient({ url: address, deadlineMs: 60_000 })
      await using processor = new BatchProcessor(client, {
        spool: await openSpool(folder),
        maxCount: SIZE,
        maxWaitMs: 50,
      })
      for (const text of texts) await processor.add(signal(text))
      await processor.flush()
    }),
}

const importer: Sender = {
  name: "importer",
  queued: false,
  send: ({ address }, texts) =>
    inFolder(async (folder) => {
      await writeFile(
        join(folder, "in.jsonl"),
        texts.map((text) => `${JSON.stringify(signal(text))}\n`).join(""),
      )
      const args = ["import", "jsonl", "in.jsonl", "--batch-size", String(SIZE), "--url", address]
      // As its messages say: the same command goes on.
      while ((await run(folder, args)).code !== 0) await sleep(PAUSE_MS)
    }),
}

/** Every attempt at a batch carries the same key. */
const keyed = (name: string, more: object, headers: Record<string, string> = {}, queued = false): Sender => ({
  name,
  queued,
  async send({ address }, texts) {
    for (const chunk of chunks(texts)) {
      const body = JSON.stringify({ signals: chunk.map((text) => signal(text)), ...more })
      const all = { ...JSON_TYPE, ...headers, "Idempotency-Key": crypto.randomUUID() }
      await postUntilAccepted(`${address}/api/signals/batch`, body, all)
    }
  },
})

export const SENDERS: Sender[] = [
  withoutKey,
  keyed("batch, best effort, with a key", {}),
  keyed("batch, all or nothing, with a key", { fail_on_error: true }),
  keyed("asynchronous batch", {}, { Prefer: "respond-async" }, true),
  single,
  slack,
  kafka,
  library,
  importer,
]
