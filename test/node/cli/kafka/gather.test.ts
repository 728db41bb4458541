import type { Message } from "@platformatic/kafka"
import { afterEach, describe, expect, it, vi } from "vitest"
import { gathered } from "../../../../src/cli/kafka/gather.ts"

const HOUR_MS = 3_600_000
const message = (value: string): Message => ({ value: Buffer.from(value) }) as unknown as Message

/** Yields messages, each after what comes before it, and then stays open as a topic does. */
async function* topic(...steps: (string | (() => void))[]): AsyncGenerator<Message> {
  for (const step of steps)
    if (typeof step === "string") yield message(step)
    else step()
  await new Promise(() => {})
}

const valuesOf = (batch: readonly Message[] | undefined) => batch?.map(({ value }) => String(value))

describe("the messages of a batch", () => {
  afterEach(() => void vi.useRealTimers())

  it("wait no longer for others when somebody sets the clock of the machine back", async () => {
    vi.useFakeTimers({ toFake: ["Date"] })
    const setBack = () => void vi.setSystemTime(Date.now() - HOUR_MS)
    const batches = gathered(topic("first", setBack, "second", "third"), 10, 50)
    const { value: batch } = await batches.next()
    expect(valuesOf(batch ?? undefined)).toEqual(["first", "second", "third"])
  })

  it("are at most as many as asked for", async () => {
    const batches = gathered(topic("first", "second", "third"), 2, HOUR_MS)
    expect(valuesOf((await batches.next()).value ?? undefined)).toEqual(["first", "second"])
  })
})
