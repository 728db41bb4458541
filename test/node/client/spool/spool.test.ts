import { spawn } from "node:child_process"
import { once } from "node:events"
import { appendFile, readdir, readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"
import { BatchProcessor, SignalClient, type Undelivered } from "../../../../src/client/index.ts"
import { openSpool } from "../../../../src/client/spool/spool.ts"
import { storedNumbers, upTo, useEmptyTables, useFolder, useProxy, useRig } from "../../../setup/hooks/rig.ts"
import { seededRandom } from "../../../setup/random.ts"

const SPOOLER = fileURLToPath(new URL("spooler.ts", import.meta.url))
const SEED = Number(process.env.SEED ?? 20_261_123)

const rig = useRig()
const proxy = useProxy(rig)
const folder = useFolder()
useEmptyTables(rig)

const signal = (index: number) => ({ context_window_id: "conv-spool", raw_content: String(index) })
const stored = () => storedNumbers(rig)
const files = async () => (await readdir(folder.path)).filter((name) => name.endsWith(".spool"))
/** The service behind the proxy, in a run that cannot reach it. */
const nowhere = () =>
  new SignalClient({
    url: proxy.address,
    deadlineMs: 50,
    fetch: (_, init) => fetch("http://127.0.0.1:2", init),
  })
const reachable = () => new SignalClient({ url: proxy.address })
/** Ends a run before its signals are sent. */
const ENDS_SOON = { closeDeadlineMs: 400, onUndelivered: () => {} }

describe("a spool", () => {
  it("sends undelivered signals once, at the next start", async () => {
    const undelivered: Undelivered[] = []
    const first = new BatchProcessor(nowhere(), {
      maxCount: 4,
      spool: await openSpool(folder.path),
      closeDeadlineMs: 400,
      onUndelivered: (batch) => undelivered.push(batch),
    })
    for (const index of upTo(10)) await first.add(signal(index))
    await first.close()
    expect(undelivered.map(({ count, kept, signals }) => [count, kept, signals]).sort()).toEqual([
      [2, true, []],
      [4, true, []],
      [4, true, []],
    ])

    const second = new BatchProcessor(reachable(), {
      maxCount: 4,
      spool: await openSpool(folder.path),
    })
    await second.add(signal(10))
    await second.close()
    expect(await stored()).toEqual(upTo(11))
    expect(await files()).toEqual([])
  })

  it("sends a batch in doubt again under its key, so that it is stored once", async () => {
    // Every answer is lost until the deadline: the first run leaves the batches in doubt.
    proxy.mishaps.push(...upTo(50).map(() => ({ kind: "lose" as const })))
    const losing = new SignalClient({ url: proxy.address, deadlineMs: 300 })
    const first = new BatchProcessor(losing, {
      maxCount: 5,
      spool: await openSpool(folder.path),
      ...ENDS_SOON,
    })
    for (const index of upTo(10)) await first.add(signal(index))
    await first.close()
    expect(await stored()).toEqual(upTo(10))
    proxy.mishaps.length = 0
    await new BatchProcessor(reachable(), {
      spool: await openSpool(folder.path),
    }).close()
    expect(await stored()).toEqual(upTo(10))
    expect(await files()).toEqual([])
  })

  it("skips a line that a crash left incomplete", async () => {
    const first = new BatchProcessor(nowhere(), {
      maxCount: 100,
      spool: await openSpool(folder.path),
      ...ENDS_SOON,
    })
    for (const index of upTo(3)) await first.add(signal(index))
    await first.close()
    const [name = ""] = await files()
    await appendFile(join(folder.path, name), '0badc0de {"sequence":4,"signal":{"context_win')
    await new BatchProcessor(reachable(), {
      spool: await openSpool(folder.path),
    }).close()
    expect(await stored()).toEqual(upTo(3))
  })

  it("keeps every digit of a bigint", async () => {
    const first = new BatchProcessor(nowhere(), {
      spool: await openSpool(folder.path),
      ...ENDS_SOON,
    })
    await first.add({ ...signal(0), payload: { big: 12_345_678_901_234_567_890n } })
    await first.close()
    await new BatchProcessor(reachable(), {
      spool: await openSpool(folder.path),
    }).close()
    expect(await rig.query("select payload::text from signals")).toEqual([
      { payload: '{"big": 12345678901234567890}' },
    ])
  })
})

describe("a batch that lost a signal to the disk", () => {
  /** Leaves a batch of three signals in the spool, and damages the second. */
  const leaveDamaged = async (client: SignalClient) => {
    const first = new BatchProcessor(client, {
      maxCount: 3,
      spool: await openSpool(folder.path),
      ...ENDS_SOON,
    })
    for (const index of upTo(3)) await first.add(signal(index))
    await first.close()
    const [name = ""] = await files()
    const text = await readFile(join(folder.path, name), "utf8")
    await writeFile(join(folder.path, name), text.replace('"raw_content":"1"', '"raw_content":"7"'))
  }
  const recover = async () => {
    proxy.mishaps.length = 0
    const spool = await openSpool(folder.path, { onDamage: () => {} })
    await new BatchProcessor(reachable(), { spool }).close()
    expect(await files()).toEqual([])
  }

  it("still stores the others", async () => {
    await leaveDamaged(nowhere())
    await recover()
    expect(await stored()).toEqual([0, 2])
  })

  it("is not stored twice when the service already has it", async () => {
    proxy.mishaps.push(...upTo(50).map(() => ({ kind: "lose" as const })))
    await leaveDamaged(new SignalClient({ url: proxy.address, deadlineMs: 300 }))
    await recover()
    expect(await stored()).toEqual(upTo(3))
  })
})

describe("a process that is killed again and again", () => {
  it(`stores everything that add accepted once (seed ${SEED})`, async () => {
    const random = seededRandom(SEED)
    const accepted: number[] = []
    let next = 0
    for (let run = 0; run < 6; run++) {
      const last = run === 5
      proxy.mishaps.push(...upTo(5).map(() => ({ kind: "lose" as const })))
      const child = spawn(
        process.execPath,
        [SPOOLER, proxy.address, folder.path, String(next), last ? "50" : "100000"],
        {
          stdio: ["ignore", "pipe", "inherit"],
        },
      )
      let said = ""
      const killAt = 20 + Math.floor(random() * 150)
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        said += text
        if (!last && said.split("\n").length > killAt) child.kill("SIGKILL")
      })
      await once(child, "close")
      // The kill may cut the last line. The number of a complete line was accepted.
      const numbers = said
        .split("\n")
        .slice(0, -1)
        .filter((line) => line !== "closed")
        .map(Number)
      expect(numbers.length).toBeGreaterThan(0)
      accepted.push(...numbers)
      // Signals that were accepted but not printed are sent, too: the next numbers start well beyond them.
      next = (numbers.at(-1) ?? 0) + 1000
      if (last) expect(said).toContain("closed")
    }
    const rows = await stored()
    expect(new Set(rows).size).toBe(rows.length)
    expect(accepted.filter((number) => !rows.includes(number))).toEqual([])
    // Each kill leaves at most one stored signal that was not printed as accepted.
    expect(rows.length - accepted.length).toBeLessThanOrEqual(5)
    expect(await files()).toEqual([])
  })
})
