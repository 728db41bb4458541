import { execFile } from "node:child_process"
import { createHash } from "node:crypto"
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { type Rig, startRig } from "../../../setup/rig.ts"
import { bareEnvironment, commandLine } from "../command-line.ts"

const KEY = "the-operator's-key"
const API_KEYS = JSON.stringify([
  { name: "operator", sha256: createHash("sha256").update(KEY).digest("hex"), scopes: ["read", "ingest"] },
])

let rig: Rig

beforeAll(async () => {
  rig = await startRig({ OPEN_ACCESS: "false", API_KEYS })
})
afterAll(() => rig?.stop())
beforeEach(async () => {
  await rig.query("truncate signals, batches, dedupe_keys, dead_letters restart identity")
})

interface Ended {
  code: number
  out: string
  err: string
}

/** Runs the command as a person does, with the key in the environment. */
function dlq(...args: string[]): Promise<Ended> {
  return dlqWith({ SIGNAL_INGEST_URL: rig.service.address, SIGNAL_INGEST_KEY: KEY }, ...args)
}

function dlqWith(env: Record<string, string>, ...args: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      commandLine("dlq", ...args),
      { env: bareEnvironment(env) },
      (error, out, err) => resolve({ code: error ? Number(error.code) : 0, out, err }),
    )
  })
}

/** Three dead letters, as the Kafka webhook keeps them. */
async function failSomeRecords(): Promise<void> {
  const response = await fetch(`${rig.service.address}/webhooks/kafka`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${KEY}` },
    body: JSON.stringify([
      { text: "nowhere" },
      { context_window_id: "c", signal_score: 2 },
      { text: "nowhere either" },
    ]),
  })
  expect(await response.json()).toMatchObject({ failed_count: 3 })
}

const mend = (id: number) =>
  rig.query(
    `update dead_letters set record = replace(record, '"signal_score":2', '"signal_score":1') where id = $1`,
    [id],
  )

describe("signals dlq", () => {
  it("lists waiting dead letters, newest first, with the reason", async () => {
    expect(await dlq("list")).toMatchObject({ code: 0, out: "0 waiting.\n" })
    await failSomeRecords()
    const { code, out } = await dlq("list")
    const lines = out.trimEnd().split("\n")
    expect([code, lines.length, lines.at(-1)]).toEqual([0, 4, "3 waiting."])
    expect(lines.map((line) => line.trim().split(" ")[0]).slice(0, 3)).toEqual(["3", "2", "1"])
    expect(lines[1]).toMatch(/kafka {3}out_of_range {9}signal_score must be between 0 and 1$/)
  })

  it("prints one line of JSON for each with --json", async () => {
    await failSomeRecords()
    const { out } = await dlq("list", "--json")
    const deadLetters = out
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line))
    expect(deadLetters.map(({ id, index }) => ({ id, index }))).toEqual([
      { id: 3, index: 2 },
      { id: 2, index: 1 },
      { id: 1, index: 0 },
    ])
  })

  it("shows the delivered record", async () => {
    await failSomeRecords()
    const { code, out } = await dlq("show", "2")
    expect(code).toBe(0)
    expect(out).toMatch(/^record +\{"value":\{"context_window_id":"c","signal_score":2\}\}$/m)
  })

  it("replays the records that can be stored now, and names the others with the reason", async () => {
    await failSomeRecords()
    await mend(2)
    const { code, out } = await dlq("replay", "--all")
    expect(code).toBe(1)
    expect(out).toMatch(/^1: not replayed\. the record has no conversation/m)
    expect(out).toMatch(/^2: replayed as [0-9a-f-]{36}$/m)
    expect(out).toMatch(/^1 replayed, 2 not\.$/m)
    expect(await rig.query("select context_window_id, signal_score from signals")).toEqual([
      { context_window_id: "c", signal_score: 1 },
    ])
    expect(await dlq("replay", "2")).toMatchObject({ code: 0 })
    expect(await rig.query("select 1 from signals")).toHaveLength(1)
    expect((await dlq("list", "--state", "replayed")).out).toContain("1 replayed.")
  })

  it("replays any number of dead letters, many in a request, and reports each", async () => {
    await rig.query(
      `insert into dead_letters (transaction_id, index, source, caller, reason, code, record, replay_transaction_id)
       select gen_random_uuid(), 0, 'signal', 'operator', 'no conversation', 'unreadable_record',
         case when n = 501 then '{}' else '{"context_window_id": "c"}' end, gen_random_uuid()
       from generate_series(1, 502) n`,
    )
    const { code, out } = await dlq("replay", "--all", "--json")
    const outcomes = out
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line))
    expect(code).toBe(1)
    expect(outcomes.map(({ id }) => id)).toEqual(Array.from({ length: 502 }, (_, index) => index + 1))
    expect(outcomes.filter(({ replayed }) => !replayed)).toEqual([
      { id: 501, replayed: false, reason: expect.any(String) },
    ])
    const stored = await rig.query<{ transaction_id: string }>("select transaction_id from signals")
    expect(stored.map(({ transaction_id }) => transaction_id).sort()).toEqual(
      outcomes.flatMap(({ transaction_id }) => transaction_id ?? []).sort(),
    )
  })

  it("discards dead letters", async () => {
    await failSomeRecords()
    expect(await dlq("discard", "1", "3")).toMatchObject({ code: 0, out: "1: discarded\n3: discarded\n" })
    expect((await dlq("list")).out).toContain("1 waiting.")
  })

  it.each([
    [["list", "--url", "http://127.0.0.1:2", "--deadline", "1"], /^Gave up: no answer within 1000 ms/],
    [["show", "99"], /^Gave up: No dead letter has the id 99\. "signals dlq list" prints the ids\.$/m],
    [["discard", "99"], /No dead letter has this id\. \(request [\da-f-]{36}\)$/m],
  ])("answers %j, which the service cannot do, with 3 and a sentence", async (args, sentence) => {
    const ended = await dlq(...args)
    expect(ended).toMatchObject({ code: 3, err: expect.stringMatching(sentence) })
    expect(ended.err).not.toMatch(/^\s+at /m)
  })

  it("says where to put the key when there is none", async () => {
    const { code, err } = await dlqWith({ SIGNAL_INGEST_URL: rig.service.address }, "list")
    expect([code, err]).toEqual([
      3,
      expect.stringMatching(
        /^Gave up: Send an API key as Authorization: Bearer KEY\. Put it into SIGNAL_INGEST_KEY\. \(request [\da-f-]{36}\)\n$/,
      ),
    ])
  })
})
