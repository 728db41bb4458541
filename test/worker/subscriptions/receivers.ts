import type { Bindings } from "../../../src/bindings.ts"
import { runEveryMinute } from "../../../src/consumer/deliveries.ts"
import { RUN } from "../../../src/deliver/run.ts"
import type { SubscriptionRecord } from "../../../src/subscriptions/schema.ts"
import type { ReceivedCall, Reply } from "../../setup/vitest/receiver.ts"
import { bindings, postJson, send } from "../service.ts"

const { TEST_RECEIVER } = bindings

/** One receiver of this test. */
export interface TestReceiver {
  url: string
  calls(): Promise<ReceivedCall[]>
  /** The replies to the next calls; with `forever` the last one stays. */
  reply(list: Reply[], options?: { forever?: boolean }): Promise<void>
}

export function receiver(): TestReceiver {
  const name = crypto.randomUUID()
  return {
    url: `${TEST_RECEIVER}/in/${name}`,
    calls: async () => (await fetch(`${TEST_RECEIVER}/calls/${name}`)).json(),
    async reply(list, { forever = false } = {}) {
      const body = JSON.stringify({ list, forever })
      await (await fetch(`${TEST_RECEIVER}/replies/${name}`, { method: "POST", body })).text()
    },
  }
}

export type Created = SubscriptionRecord & { secret: string }

/** Creates a subscription. Another test may just have taken every slot: then it waits for one. */
export async function subscribe(body: object): Promise<Created> {
  for (;;) {
    const response = await postJson("/api/subscriptions", { name: crypto.randomUUID(), ...body })
    if (response.status === 201) return response.json()
    const text = await response.text()
    if (!text.includes("subscriptions already")) throw new Error(`${response.status} ${text}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

export const subscription = async (id: string): Promise<SubscriptionRecord> =>
  (await send(`/api/subscriptions/${id}`)).json()

export const change = (id: string, body: object) =>
  send(`/api/subscriptions/${id}`, {
    method: "PATCH",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  })

export const remove = (id: string) => send(`/api/subscriptions/${id}`, { method: "DELETE" })

/** Runs the deliveries once, as the cron does. */
export const run = (changed: Partial<Bindings> = {}, bounds: Partial<typeof RUN> = {}) =>
  runEveryMinute({ ...bindings, ...changed }, { ...RUN, ...bounds })

/** The texts of the signals that a receiver got, call by call. */
export const contentsOf = (calls: readonly ReceivedCall[]): string[][] =>
  calls.map(({ body }) =>
    (JSON.parse(body) as { signals: { raw_content: string }[] }).signals.map(
      ({ raw_content }) => raw_content,
    ),
  )
