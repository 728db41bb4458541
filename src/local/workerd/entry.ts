import { waitUntil } from "cloudflare:workers"
import type { Bindings } from "../../bindings.ts"
import { EVERY_MINUTE, isDeliveries } from "../../consumer/deliveries.ts"
import service from "../../index.ts"
import { DATASET, type Dataset } from "../../metrics/points.ts"
import { KeptMessages, unwrapBatch } from "./kept-messages.ts"

/** The bindings that `npm start` adds to those of `wrangler.toml`. */
interface LocalBindings extends Bindings {
  /** The secret by which `npm start` calls the `CONTROLS`. */
  LOCAL_TOKEN: string
  /** Host names of the service besides addresses, separated by spaces. */
  LOCAL_HOSTS: string
  /** Keeps the messages of the queue, since the local queue is only in memory. */
  LOCAL_MESSAGES: R2Bucket
  /** The address that receives data points. Without it they are dropped. */
  POINTS_URL?: string
  POINTS_TOKEN?: string
}

/**
 * The service's bindings, with replacements for those that work only at Cloudflare. The object is kept, since
 * the service caches its settings by it.
 */
const replaced = new WeakMap<LocalBindings, { bindings: Bindings; messages: KeptMessages }>()

function replace(local: LocalBindings) {
  const known = replaced.get(local)
  if (known) return known
  const { QUEUE, LOCAL_MESSAGES, POINTS_URL, POINTS_TOKEN } = local
  const messages = new KeptMessages(LOCAL_MESSAGES, QUEUE)
  const bindings: Bindings = {
    ...local,
    ...(QUEUE && { QUEUE: messages.queue() }),
    ...(POINTS_URL !== undefined && { METRICS: pointsOver(POINTS_URL, POINTS_TOKEN ?? "") }),
  }
  const made = { bindings, messages }
  replaced.set(local, made)
  return made
}

let underWay = 0
let stopping = false

/** Requests that only `npm start` can make. */
const CONTROLS: Record<string, (local: LocalBindings) => Promise<unknown>> = {
  /** Refuses requests from now on, and returns the work that is left. */
  "/local/stop": async (local) => {
    stopping = true
    return { requests: underWay, messages: await replace(local).messages.count() }
  },
  /** Sends every kept message again: the queue has forgotten what it held. */
  "/local/resume": async (local) => ({ messages: await replace(local).messages.sendAgain() }),
  /** Runs the cron trigger, as Cloudflare does every hour. */
  "/local/scheduled": async (local) => {
    await runCron(local, "")
    return {}
  },
  /** Runs the cron trigger of the deliveries, as Cloudflare does every minute. */
  "/local/every-minute": async (local) => {
    await runCron(local, EVERY_MINUTE)
    return {}
  },
}

async function runCron(local: LocalBindings, cron: string): Promise<void> {
  const event = { cron, scheduledTime: Date.now(), noRetry() {} }
  await service.scheduled(event as ScheduledController, replace(local).bindings)
}

const ADDRESS = /^(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:.]+\])$/i

/**
 * Whether a request names a host that is not the service's. The owner of any DNS name can point it at this
 * machine, and a page with that name could then read every answer (DNS rebinding). Nobody can do that with an
 * address.
 *
 * @param host the header, with or without a port
 */
function isForeignHost(host: string, known: readonly string[]): boolean {
  const name = host.replace(/:\d+$/, "").toLowerCase()
  return !(name === "localhost" || ADDRESS.test(name) || known.includes(name))
}

/**
 * Replaces the dataset binding of Analytics Engine, which stores nothing locally. Never fails: a point that
 * cannot be stored is lost.
 */
const pointsOver = (url: string, token: string): Dataset => ({
  writeDataPoint(point) {
    const body = JSON.stringify({ dataset: DATASET, point })
    const sent = fetch(url, { method: "POST", headers: { Authorization: `Bearer ${token}` }, body })
    // The answer is read to its end, so that its connection can be used again.
    waitUntil(sent.then((response) => response.text()).catch(() => {}))
  },
})

const problem = (status: number, detail: string, headers: HeadersInit = {}) =>
  Response.json({ detail }, { status, headers })

/** The service of `npm start`: its own code, with local replacements for Cloudflare's bindings. */
export default {
  async fetch(request, local, context) {
    const control = CONTROLS[new URL(request.url).pathname]
    if (control && request.headers.get("Authorization") === `Bearer ${local.LOCAL_TOKEN}`)
      return Response.json(await control(local))
    if (isForeignHost(request.headers.get("Host") ?? "", local.LOCAL_HOSTS.split(" ")))
      return problem(
        403,
        "The service does not have this host name. Use localhost, or give the name with --host.",
      )
    if (stopping)
      return problem(503, "The service is stopping. Send the request again later.", { "Retry-After": "5" })
    underWay++
    try {
      return await service.fetch(request, replace(local).bindings, context)
    } finally {
      underWay--
    }
  },
  async queue(batch, local) {
    const { bindings, messages } = replace(local)
    // A wake message is not kept: a minute later there is the next run.
    if (isDeliveries(batch)) return service.queue(batch, bindings)
    const { unwrapped, acknowledged } = unwrapBatch(batch)
    let returned = false
    try {
      await service.queue(unwrapped, bindings)
      returned = true
    } finally {
      await messages.forget(acknowledged({ returned }))
    }
  },
} satisfies ExportedHandler<LocalBindings>
