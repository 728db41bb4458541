import type {
  Answer,
  Invoke,
  Line,
  Operation,
  Result,
  Row,
  SentSignal,
  Subject,
} from "../../setup/history/lines.ts"
import { seededRandom } from "../../setup/random.ts"

/**
 * A small model of the service that writes the history of a run in which it keeps every promise: requests
 * overlap, answers are lost before and after the commit, the queue stores later, erasures take a while.
 */
export interface Simulated {
  seed: number
  clients: number
  requests: number
}

interface Stored extends Row {
  committedAt: number
}

type Reply = Omit<Answer, "type" | "n" | "at">

class Service {
  readonly lines: Line[] = []
  readonly random: () => number
  readonly rows = new Map<number, Stored>()
  readonly order: number[] = []
  readonly ledger = new Map<string, { successful: number; failed: number; state: string; key?: string }>()
  readonly keys = new Map<string, number>()
  readonly answers = new Map<string, { hash: string; reply: Reply }>()
  readonly erasures: { id: string; subject: Subject; at: number; isDone: boolean }[] = []
  #queue: { at: number; run: () => void }[] = []
  #lastId = 0
  #lastNumber = 0
  #lastToken = 0
  now = 0

  constructor(seed: number) {
    this.random = seededRandom(seed)
  }

  pick = (most: number) => Math.floor(this.random() * most)

  later(ms: number, run: () => void): void {
    this.#queue.push({ at: this.now + 0.001 + this.random() * ms, run })
  }

  runAll(): void {
    while (this.#queue.length > 0) {
      let first = 0
      for (const [index, { at }] of this.#queue.entries())
        if (at < (this.#queue[first]?.at ?? 0)) first = index
      const [next] = this.#queue.splice(first, 1)
      this.now = next?.at ?? this.now
      next?.run()
    }
  }

  name = (kind: string) => `${kind}-${++this.#lastToken}`

  /** Sends a request: it does its work at one moment, and is answered later; either may be lost. */
  send(
    request: Omit<Invoke, "type" | "n" | "at">,
    { work, lost = 0 }: { work: () => Reply; lost?: number },
    then: (reply: Reply) => void = () => {},
  ): void {
    const n = ++this.#lastNumber
    this.lines.push({ type: "invoke", n, at: this.now, ...request })
    const isLostBefore = this.random() < lost / 2
    this.later(20, () => {
      const reply = isLostBefore ? { status: 0 } : work()
      this.later(20, () => {
        const isLost = this.random() < lost / 2
        const told = isLost ? this.doubt(reply) : reply
        this.lines.push({ type: "answer", n, at: this.now, ...told })
        then(told)
      })
    })
  }

  doubt({ transaction }: Reply): Reply {
    return transaction !== undefined && this.random() < 0.5 ? { status: 503, transaction } : { status: 0 }
  }

  newSignals(count: number): SentSignal[] {
    return Array.from({ length: count }, () => ({
      hash: this.name("signal"),
      conversation: `c-${this.pick(6)}`,
      user: `u-${this.pick(8)}`,
      ...(this.random() < 0.2 && { dedupeKey: `k-${this.pick(10)}` }),
      ...(this.random() < 0.1 && { mayFail: true as const }),
    }))
  }

  isRefused(signal: SentSignal, acceptedAt: number): boolean {
    return this.erasures.some(
      ({ subject, at }) =>
        (subject.suppress || acceptedAt < at) &&
        (subject.value === signal.user || subject.value === signal.conversation),
    )
  }

  /** Stores a batch in one moment. */
  store(transaction: string, signals: readonly SentSignal[], acceptedAt: number, key?: string): Reply {
    const results = signals.map((signal): Result => {
      if (signal.mayFail || this.isRefused(signal, acceptedAt)) return ["failed"]
      const held = signal.dedupeKey === undefined ? undefined : this.keys.get(signal.dedupeKey)
      if (held !== undefined) return ["duplicate", held]
      const id = ++this.#lastId
      const { mayFail: _, ...row } = signal
      if (signal.dedupeKey !== undefined) this.keys.set(signal.dedupeKey, id)
      this.rows.set(id, { type: "row", id, ...row, transaction, committedAt: acceptedAt })
      this.order.push(id)
      return ["stored", id]
    })
    const failed = results.filter(([is]) => is === "failed").length
    const counts = [results.length - failed, failed] as const
    this.ledger.set(transaction, {
      successful: counts[0],
      failed,
      state: "stored",
      ...(key !== undefined && { key }),
    })
    return { status: 200, transaction, results, counts }
  }

  seen(ids: readonly number[]) {
    return ids.flatMap((id) => {
      const row = this.rows.get(id)
      return row ? [{ id, hash: row.hash }] : []
    })
  }
}

/** The lines of a run without any fault of the service. */
export function simulated({ seed, clients, requests }: Simulated): Line[] {
  const service = new Service(seed)
  for (let client = 0; client < clients; client++)
    service.later(20, () => act(service, `client-${client}`, requests))
  for (const name of ["reader-1", "reader-2"]) follow(service, name, 0, () => service.now > requests * 30)
  service.runAll()
  ending(service)
  return service.lines
}

function act(service: Service, client: string, left: number): void {
  if (left === 0) return
  const again = () => service.later(10, () => act(service, client, left - 1))
  const way = service.random()
  if (way < 0.5) sendBatch(service, client, again)
  else if (way < 0.6) sendLater(service, client, again)
  else if (way < 0.64) sendErasure(service, client, again)
  else read(service, client, way, again)
}

function sendBatch(service: Service, client: string, again: () => void): void {
  const signals = service.newSignals(1 + service.pick(4))
  const key = service.random() < 0.6 ? service.name("key") : undefined
  const hash = service.name("body")
  const request = { client, operation: "batch" as const, hash, signals, ...(key !== undefined && { key }) }
  const transaction = () => service.name("t")
  const work = (): Reply => {
    const known = key === undefined ? undefined : service.answers.get(key)
    if (known) return known.hash === hash ? known.reply : { status: 422 }
    const reply = service.store(transaction(), signals, service.now, key)
    if (key !== undefined) service.answers.set(key, { hash, reply })
    return reply
  }
  const attempt = (number: number) =>
    service.send(request, { work, lost: 0.3 }, ({ status }) =>
      status !== 200 && key !== undefined && number < 4
        ? service.later(5, () => attempt(number + 1))
        : again(),
    )
  attempt(1)
}

/** A batch that is acknowledged, and stored later. */
function sendLater(service: Service, client: string, again: () => void): void {
  const signals = service.newSignals(1 + service.pick(4))
  const transaction = service.name("t")
  const work = (): Reply => {
    const acceptedAt = service.now
    service.later(60, () => service.store(transaction, signals, acceptedAt))
    return { status: 202, transaction, counts: [0, 0], state: "queued" }
  }
  service.send({ client, operation: "batch", hash: service.name("body"), signals }, { work }, again)
}

function sendErasure(service: Service, client: string, again: () => void): void {
  const isUser = service.random() < 0.5
  const subject: Subject = {
    kind: isUser ? "user_id" : "context_window_id",
    value: isUser ? `u-${service.pick(8)}` : `c-${service.pick(6)}`,
    ...(service.random() < 0.3 && { suppress: true as const }),
  }
  const id = service.name("erasure")
  const work = (): Reply => {
    const erasure = { id, subject, at: service.now, isDone: false }
    service.erasures.push(erasure)
    service.later(50, () => {
      for (const row of service.rows.values())
        if (
          row.committedAt < erasure.at &&
          (row.user === subject.value || row.conversation === subject.value)
        )
          service.rows.delete(row.id)
      erasure.isDone = true
    })
    return { status: 202, transaction: id, state: "running" }
  }
  service.send({ client, operation: "erasure", hash: id, subject }, { work }, () => {
    const state = (): Reply => ({
      status: 200,
      transaction: id,
      state: service.erasures.find((one) => one.id === id)?.isDone ? "done" : "running",
    })
    service.later(60, () =>
      service.send({ client, operation: "erasure state", of: id }, { work: state }, again),
    )
  })
}

function read(service: Service, client: string, way: number, again: () => void): void {
  const { operation, of, work } = readOf(service, way)
  service.send({ client, operation, of }, { work }, again)
}

function readOf(service: Service, way: number): { operation: Operation; of: string; work: () => Reply } {
  if (way < 0.75) {
    const id = 1 + service.pick(Math.max(1, service.order.length))
    const work = (): Reply => {
      const seen = service.seen([id])
      return seen.length > 0 ? { status: 200, seen } : { status: 404 }
    }
    return { operation: "read", of: String(id), work }
  }
  if (way < 0.85) {
    const of = `c-${service.pick(6)}`
    const ids = () => [...service.rows.values()].filter((row) => row.conversation === of).map(({ id }) => id)
    return { operation: "list", of, work: () => ({ status: 200, isEnd: true, seen: service.seen(ids()) }) }
  }
  if (way < 0.95) {
    const of = [...service.ledger.keys()][service.pick(Math.max(1, service.ledger.size))] ?? "none"
    const work = (): Reply => {
      const row = service.ledger.get(of)
      return row
        ? { status: 200, transaction: of, state: row.state, counts: [row.successful, row.failed] }
        : { status: 404 }
    }
    return { operation: "ledger", of, work }
  }
  return { operation: "stats", of: "", work: () => ({ status: 200, stats: counted(service) }) }
}

const counted = ({ rows }: Service) =>
  [...Map.groupBy(rows.values(), ({ conversation }) => conversation)].map(
    ([conversation, of]) => [conversation, of.length] as const,
  )

/** Follows the feed by pages. */
function follow(
  service: Service,
  client: string,
  from: number,
  isOver: () => boolean,
  isQuiet = false,
): void {
  const limit = 1 + service.pick(10)
  let next = from
  const work = (): Reply => {
    const ids = service.order.slice(from, from + limit)
    next = from + ids.length
    return {
      status: 200,
      seen: service.seen(ids),
      ...(next === service.order.length && { isEnd: true as const }),
    }
  }
  const request = { client, operation: "feed" as const, of: from === 0 ? "" : String(from) }
  service.send({ ...request, ...(isQuiet && { isQuiet: true as const }) }, { work }, ({ isEnd }) => {
    if (isOver() && (isQuiet || !isEnd)) {
      if (!(isQuiet && isEnd)) follow(service, client, next, isOver, isQuiet)
    } else if (!isOver()) service.later(30, () => follow(service, client, next, isOver))
  })
}

/** What is read when all is done: a feed, statistics, metrics, the calls of a subscription, the tables. */
function ending(service: Service): void {
  const client = "ending"
  follow(service, client, 0, () => true, true)
  service.runAll()
  const stats = () => ({ status: 200, stats: counted(service) })
  service.send({ client, operation: "stats", isQuiet: true }, { work: stats })
  const successful = [...service.ledger.values()].reduce((sum, row) => sum + row.successful, 0)
  service.send(
    { client, operation: "metrics", isQuiet: true },
    { work: () => ({ status: 200, counted: successful }) },
  )
  service.runAll()
  service.lines.push({ type: "subscribed", subscription: "all" })
  for (let at = 0; at < service.order.length; at += 5) {
    const ids = service.order.slice(at, at + 5)
    const call = { type: "call" as const, subscription: "all", webhookId: `w-${at}`, hash: `h-${at}`, ids }
    if (service.random() < 0.2)
      service.lines.push({ ...call, at: service.now, until: service.now + 1, isAccepted: false })
    service.now += 2
    service.lines.push({ ...call, at: service.now, until: service.now + 1, isAccepted: true })
    service.now += 2
  }
  for (const { committedAt: _, ...row } of service.rows.values()) service.lines.push(row)
  for (const [transaction, row] of service.ledger)
    service.lines.push({ type: "entered", transaction, ...row })
  for (const { id, isDone } of service.erasures)
    service.lines.push({ type: "erased", id, state: isDone ? "done" : "running" })
  service.lines.push({ type: "end", rows: service.rows.size, entered: service.ledger.size })
}
