import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type Rig, startRig } from "../../setup/rig.ts"
import { attack, BODIES, LOADS, wrongAnswers } from "./attacks.ts"

/** The heap of an isolate at Cloudflare. V8 ends the process when the Worker needs more. */
const V8_FLAGS = ["--max-heap-size=128"]

describe("the Worker in a heap of 128 MiB", () => {
  let rig: Rig
  beforeAll(async () => {
    rig = await startRig({}, { v8Flags: V8_FLAGS })
  }, 60_000)
  afterAll(() => rig.stop())

  it.each([...Object.keys(LOADS), ...Object.keys(BODIES)])("answers %s", { timeout: 120_000 }, async (name) => {
    const make = LOADS[name] ?? BODIES[name]
    const answers = make ? await attack(rig.service.address, make()) : []
    const counts = Object.entries(Object.groupBy(answers, ({ status }) => status)).map(
      ([status, all]) => `${all?.length} x ${status}`,
    )
    console.log(`${name}: ${counts.join(", ")}`)
    expect(wrongAnswers(answers)).toEqual([])
    expect((await fetch(`${rig.service.address}/healthz`)).status).toBe(200)
  })
})
