import type { Model, Promised, SentErasure, SentSignal } from "./model.ts"
import { REFUSED_TEXT } from "./stand.ts"

/** What the senders share. */
export interface Traffic {
  address: string
  /** Notes in the history of the run what is sent and answered. */
  fetch: typeof fetch
  model: Model
  random: () => number
  /** Tokens begin with it. */
  name: string
}

interface Answer {
  status: number
  body: Record<string, unknown>
}

interface ResultOf {
  success: boolean
  signal_id: number | null
  duplicate?: true
}

const CONVERSATIONS = 40
const USERS = 60
const DEDUPE_KEYS = 150
/** Texts that writers of SQL, JSON and arrays get wrong. */
const ODD_TEXTS = ["", "\u007f", "\u0080", "'\"\\", "{}", "NULL", "\ufeff", "\u2028", "%_", "\uffff"]
/** How long a sender waits for an answer. */
export const PATIENCE_MS = 15_000
const ATTEMPTS = 6

const pick = (random: () => number, most: number) => Math.floor(random() * most)

/** Sends one request. Undefined when the connection ended without an answer. */
async function post(
  { address, fetch, model }: Traffic,
  {
    way,
    path,
    headers = {},
    body,
  }: { way: string; path: string; headers?: Record<string, string>; body: string },
): Promise<Answer | undefined> {
  try {
    const response = await fetch(`${address}${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      body,
      signal: AbortSignal.timeout(PATIENCE_MS),
    })
    const answer = { status: response.status, body: (await response.json()) as Answer["body"] }
    model.count(way, answer.status)
    if (answer.status >= 500 && answer.status !== 503) model.seen.push(`${way}: ${JSON.stringify(answer)}`)
    return answer
  } catch {
    model.count(way, "no answer")
    return undefined
  }
}

/** What an answer without results promises of the signals of its request. */
function promisedBy(answer: Answer | undefined): "doubt" | "refused" {
  if (!answer) return "doubt"
  return answer.status === 503 && "transaction_id" in answer.body ? "doubt" : "refused"
}

/** Signals that nobody has sent before. */
function newSignals(
  { model, random, name }: Traffic,
  count: number,
  kinds: { refused: boolean },
): SentSignal[] {
  const batch = `${name}-${model.tick()}`
  return Array.from({ length: count }, (_, index): SentSignal => {
    const isGood = random() < 0.9
    const isRefused = kinds.refused && random() < 0.03
    const token = `${isRefused ? REFUSED_TEXT : ""}${batch}-${index}-${ODD_TEXTS[pick(random, ODD_TEXTS.length)]}`
    return {
      token,
      conversation: `c-${pick(random, CONVERSATIONS)}`,
      user: `u-${pick(random, USERS)}`,
      ...(random() < 0.2 && { dedupeKey: `k-${pick(random, DEDUPE_KEYS)}` }),
      isGood: isGood && !isRefused,
      beganAt: model.tick(),
      answeredAt: Number.POSITIVE_INFINITY,
      promised: "doubt",
      batch,
    }
  })
}

/** A bad signal that the database would refuse has a good score: the database sees it. */
const wireOf = ({ token, conversation, user, dedupeKey, isGood }: SentSignal) => ({
  context_window_id: conversation,
  user_id: user,
  raw_content: token,
  signal_score: isGood || token.startsWith(REFUSED_TEXT) ? 0.5 : 7,
  ...(dedupeKey !== undefined && { dedupe_key: dedupeKey }),
})

function settle(
  model: Model,
  signals: readonly SentSignal[],
  promised: (index: number) => Partial<SentSignal>,
): void {
  const answeredAt = model.tick()
  for (const [index, signal] of signals.entries())
    model.signals.push(Object.assign(signal, { answeredAt }, promised(index)))
}

/** The promise of one result. */
function promiseOf(result: ResultOf | undefined): { promised: Promised; id?: number } {
  if (!result?.success) return { promised: "refused" }
  const id = result.signal_id ?? 0
  return { promised: result.duplicate ? "duplicate" : "stored", id }
}

/** Sends the same request until an answer is definite. Without a key one attempt has to do. */
async function untilDefinite(
  traffic: Traffic,
  request: { way: string; path: string; headers: Record<string, string>; body: string },
): Promise<{ answer: Answer | undefined; wasInDoubt: boolean; doubts: string[] }> {
  const doubts: string[] = []
  let wasInDoubt = false
  for (let attempt = 1; ; attempt++) {
    const answer = await post(traffic, request)
    const isDefinite = answer !== undefined && answer.status !== 503
    if (!isDefinite && promisedBy(answer) === "doubt") wasInDoubt = true
    if (!isDefinite && typeof answer?.body.transaction_id === "string")
      doubts.push(answer.body.transaction_id)
    const hasKey = "Idempotency-Key" in request.headers
    if (isDefinite || !hasKey || attempt === ATTEMPTS) return { answer, wasInDoubt, doubts }
  }
}

/** A batch in one of the modes of the API, sometimes with a rival that uses its key for another body. */
export async function sendBatch(traffic: Traffic): Promise<void> {
  const { model, random } = traffic
  const signals = newSignals(traffic, 1 + pick(random, 30), { refused: random() < 0.2 })
  const isAsync = random() < 0.25
  const allOrNothing = random() < 0.25
  const isLenient = random() < 0.2
  const key = random() < 0.6 ? `${traffic.name}-key-${model.tick()}` : undefined
  const prefer = [isAsync && "respond-async", isLenient && "handling=lenient"].filter(Boolean).join(", ")
  const request = {
    way: isAsync ? "async batch" : "batch",
    path: "/api/signals/batch",
    headers: {
      ...(prefer && { Prefer: prefer }),
      ...(key !== undefined && { "Idempotency-Key": key }),
    } as Record<string, string>,
    body: JSON.stringify({ signals: signals.map(wireOf), ...(allOrNothing && { fail_on_error: true }) }),
  }
  const rival = key !== undefined && random() < 0.1 ? sendRival(traffic, key) : undefined
  const { answer, wasInDoubt, doubts } = await untilDefinite(traffic, request)
  const tokens = signals.filter(({ isGood }) => isGood).map(({ token }) => token)
  // Under a key, the ledger can have the batch under the id of an attempt that was not answered.
  if (answer?.status === 503 && key === undefined)
    for (const transactionId of doubts) model.doubts.push({ transactionId, tokens })
  settleBatch(traffic, signals, answer, { wasInDoubt, allOrNothing, hasRival: rival !== undefined })
  await rival
}

function settleBatch(
  { model }: Traffic,
  signals: readonly SentSignal[],
  answer: Answer | undefined,
  { wasInDoubt, allOrNothing, hasRival }: { wasInDoubt: boolean; allOrNothing: boolean; hasRival: boolean },
): void {
  if (answer?.status === 200) {
    const results = answer.body.results as ResultOf[]
    settle(model, signals, (index) => promiseOf(results[index]))
    const failed = results.filter(({ success }) => !success).length
    if (allOrNothing && failed > 0)
      model.seen.push(`all or nothing with a failure: ${JSON.stringify(answer.body)}`)
    model.batches.push({
      transactionId: String(answer.body.transaction_id),
      successful: results.length - failed,
      failed,
    })
    return
  }
  if (answer?.status === 202) {
    const batch = {
      way: "async batch",
      transactionId: String(answer.body.transaction_id),
      mayFailWhole: allOrNothing || hasRival,
    }
    settle(model, signals, (index) => ({
      ...batch,
      promised: signals[index]?.isGood ? "accepted" : "refused",
    }))
    return
  }
  // The last attempt speaks for itself only; an earlier one may have stored the batch.
  const isDoubt = answer === undefined || answer.status === 503 ? wasInDoubt : false
  settle(model, signals, () => ({ promised: isDoubt ? "doubt" : "refused" }))
}

async function sendRival(traffic: Traffic, key: string): Promise<void> {
  const signals = newSignals(traffic, 2, { refused: false })
  const { answer, wasInDoubt } = await untilDefinite(traffic, {
    way: "rival batch",
    path: "/api/signals/batch",
    headers: { "Idempotency-Key": key },
    body: JSON.stringify({ signals: signals.map(wireOf) }),
  })
  settleBatch(traffic, signals, answer, { wasInDoubt, allOrNothing: false, hasRival: true })
}

export async function sendSingle(traffic: Traffic): Promise<void> {
  const { model, random } = traffic
  const signals = newSignals(traffic, 1, { refused: random() < 0.2 })
  const headers: Record<string, string> =
    random() < 0.5 ? { "Idempotency-Key": `${traffic.name}-key-${model.tick()}` } : {}
  const body = JSON.stringify(wireOf(signals[0] as SentSignal))
  const { answer, wasInDoubt } = await untilDefinite(traffic, {
    way: "single",
    path: "/api/signals",
    headers,
    body,
  })
  if (answer?.status === 201 || answer?.status === 200) {
    const id = Number(answer.body.id)
    const isDuplicate = answer.body.duplicate === true
    if (!(id > 0)) model.seen.push(`single with id ${answer.body.id}`)
    return settle(model, signals, () => ({ promised: isDuplicate ? "duplicate" : "stored", id }))
  }
  settle(model, signals, () => ({
    promised: (!answer || answer.status === 503) && wasInDoubt ? "doubt" : "refused",
  }))
}

/** Records of Kafka. One that breaks a rule becomes a dead letter. */
export async function sendKafka(traffic: Traffic): Promise<void> {
  const { model, random } = traffic
  const signals = newSignals(traffic, 1 + pick(random, 10), { refused: random() < 0.2 })
  const partition = model.tick()
  for (const signal of signals) delete signal.dedupeKey
  const records = signals.map((signal, offset) => ({
    topic: traffic.name,
    partition,
    offset,
    value: wireOf(signal),
  }))
  let wasInDoubt = false
  for (let attempt = 1; ; attempt++) {
    const answer = await post(traffic, {
      way: "kafka",
      path: "/webhooks/kafka",
      body: JSON.stringify(records),
    })
    if (answer?.status === 200) return settle(model, signals, () => ({ way: "kafka", promised: "accepted" }))
    wasInDoubt ||= promisedBy(answer) === "doubt"
    if (attempt === ATTEMPTS)
      return settle(model, signals, () => ({ promised: wasInDoubt ? "doubt" : "refused" }))
  }
}

/** An erasure by user, conversation or ids, sent until it is recorded. */
export async function sendErasure(traffic: Traffic): Promise<void> {
  const { model, random } = traffic
  const stored = model.signals.filter(({ promised, id }) => promised === "stored" && id !== undefined)
  // Without a stored signal an id would be a guess, which can be that of a signal without an answer.
  const kinds = ["user_id", "context_window_id", "signal_ids"] as const
  const kind = kinds[pick(random, stored.length > 0 ? 3 : 2)] ?? "user_id"
  const ids = Array.from({ length: 3 }, () => stored[pick(random, stored.length)]?.id ?? 1)
  const subject = kind === "user_id" ? `u-${pick(random, USERS)}` : `c-${pick(random, CONVERSATIONS)}`
  const suppress = kind !== "signal_ids" && random() < 0.15
  const erasure: SentErasure = {
    kind,
    subject,
    ids: kind === "signal_ids" ? ids : [],
    suppress,
    beganAt: model.tick(),
    answeredAt: undefined,
  }
  model.erasures.push(erasure)
  const { answer } = await untilDefinite(traffic, {
    way: "erasure",
    path: "/api/erasures",
    headers: { "Idempotency-Key": `${traffic.name}-erasure-${model.tick()}` },
    body: JSON.stringify(kind === "signal_ids" ? { signal_ids: ids } : { [kind]: subject, suppress }),
  })
  if (answer?.status === 202) {
    erasure.answeredAt = model.tick()
    model.erasureIds.push(String(answer.body.id))
  } else if (answer && answer.status < 500) model.seen.push(`erasure: ${JSON.stringify(answer)}`)
}

/** Replays waiting dead letters. What breaks a rule stays one. */
export async function replayDeadLetters(traffic: Traffic): Promise<void> {
  await post(traffic, { way: "bulk replay", path: "/api/dead-letters/replay?limit=50", body: "" })
}

/** Reads a stored signal: it is there, unless an erasure may have it. */
export async function readBack(traffic: Traffic, isErased: (signal: SentSignal) => boolean): Promise<void> {
  const { address, fetch, model, random } = traffic
  const stored = model.signals.filter(({ promised }) => promised === "stored")
  const signal = stored[pick(random, stored.length)]
  if (!signal) return
  const response = await fetch(`${address}/api/signals/${signal.id}`, {
    signal: AbortSignal.timeout(PATIENCE_MS),
  }).catch(() => undefined)
  const body = (await response?.json().catch(() => undefined)) as { raw_content?: string } | undefined
  model.count("read", response?.status ?? "no answer")
  if (response?.status === 404 && !isErased(signal))
    model.seen.push(`404 for stored ${JSON.stringify(signal)}`)
  // Without a body the Worker was killed in the middle of the answer.
  if (response?.status === 200 && body && body.raw_content !== signal.token && !isErased(signal))
    model.seen.push(`another signal under the id of ${JSON.stringify(signal)}`)
}

/** Reads for the history alone: a conversation, a batch of the ledger, the statistics, an erasure. */
export async function readForHistory({ address, fetch, model, random }: Traffic): Promise<void> {
  const paths = [
    `/api/signals?limit=1000&context_window_id=c-${pick(random, CONVERSATIONS)}`,
    `/api/batches/${model.batches[pick(random, model.batches.length)]?.transactionId ?? "none"}`,
    `/api/batches/${model.doubts[pick(random, model.doubts.length)]?.transactionId ?? "none"}`,
    `/api/erasures/${model.erasureIds[pick(random, model.erasureIds.length)] ?? "none"}`,
    "/api/signals/stats?since=2000-01-01T00:00:00Z",
  ]
  const path = paths[pick(random, paths.length)]
  const response = await fetch(address + path, { signal: AbortSignal.timeout(PATIENCE_MS) }).catch(
    () => undefined,
  )
  model.count("history read", response?.status ?? "no answer")
}
