import { spawn } from "node:child_process"
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { text } from "node:stream/consumers"
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { SignalClient } from "../../../src/client/index.ts"
import { startProxy } from "../../setup/proxy.ts"
import { type Rig, sendBatch, startRig } from "../../setup/rig.ts"
import { settled } from "../../setup/settled.ts"
import { commandLine } from "./command-line.ts"

let rig: Rig
let folder: string
let client: SignalClient
/** The cursor behind what other tests stored. */
let now: string

beforeAll(async () => {
  rig = await startRig()
  folder = await mkdtemp(join(tmpdir(), "signal-ingest-tail-"))
  client = new SignalClient({ url: rig.service.address })
})
afterAll(async () => {
  await rig?.stop()
  await rm(folder, { recursive: true, force: true })
})
beforeEach(async () => {
  for await (const { next_cursor } of client.feed({ after: "now", follow: false })) now = next_cursor
})

const ENVIRONMENT = { ...process.env, SIGNAL_INGEST_KEY: "" }

function start(...args: string[]) {
  const child = spawn(process.execPath, commandLine("tail", "--url", rig.service.address, ...args), {
    env: ENVIRONMENT,
  })
  return {
    child,
    ended: Promise.all([
      text(child.stdout),
      text(child.stderr),
      new Promise<number | null>((resolve) => child.once("close", resolve)),
    ]).then(([output, errors, code]) => ({ output, errors, code })),
  }
}

const contentsOf = (output: string) =>
  output
    .split("\n")
    .filter(Boolean)
    .map((line) => (JSON.parse(line) as { raw_content: string }).raw_content)

const TWENTY = Array.from({ length: 20 }, (_, index) => String(index))

describe("client.feed", () => {
  it("yields new signals, resumes after an outage of the database, and ends when it is aborted", async () => {
    const stop = new AbortController()
    const proxy = await startProxy(rig.service.address)
    const reader = new SignalClient({ url: proxy.address })
    const seen: (string | null)[] = []
    const waiting = (async () => {
      for await (const { signals } of reader.feed({
        after: now,
        wait: 2,
        deadlineMs: 300,
        signal: stop.signal,
      }))
        seen.push(...signals.map(({ raw_content }) => raw_content))
    })()
    await sendBatch(rig)
    await expect.poll(() => seen.length).toBe(20)
    await rig.endpoint.faults.refuse()
    const asked = proxy.seen.length
    // The second request from now on follows one that the outage has ended.
    await expect.poll(() => proxy.seen.length).toBeGreaterThan(asked + 1)
    await rig.endpoint.faults.accept()
    await sendBatch(rig)
    await expect.poll(() => seen.length).toBe(40)
    stop.abort()
    await waiting
    await proxy.stop()
    expect(seen).toEqual([...TWENTY, ...TWENTY])
  })

  it("sends no statement after its reader has left", async () => {
    const { host, hostname, port } = new URL(rig.service.address)
    const before = rig.endpoint.requests()
    const reader = connect(Number(port), hostname)
    reader.write(`GET /api/signals/feed?after=${now}&wait=30 HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
    // Two looks: it waits.
    await expect.poll(rig.endpoint.requests).toBeGreaterThanOrEqual(before + 2)
    // Outside Cloudflare's network, workerd notices only a connection that is reset.
    reader.resetAndDestroy()
    // Longer than the time between two looks: while one more comes, this waits on.
    await settled(rig.endpoint.requests, 3000)
  })
})

describe("signals tail", () => {
  it("prints one line for each signal and its last cursor, and continues from there", async () => {
    await sendBatch(rig)
    const first = await start("--after", now).ended
    expect([first.code, contentsOf(first.output)]).toEqual([0, TWENTY])
    const cursor = /--after (\S+)/.exec(first.errors)?.[1] ?? ""
    await sendBatch(rig)
    const second = await start("--after", cursor, "--quiet").ended
    expect([second.code, second.errors, contentsOf(second.output)]).toEqual([0, "", TWENTY])
  })

  it("saves its cursor in a file, follows until Ctrl-C, and prints nothing twice", async () => {
    const file = join(folder, "cursor")
    const args = ["--follow", "--cursor-file", file, "--after", now]
    const first = start(...args)
    await sendBatch(rig)
    await expect.poll(() => readFile(file, "utf8").catch(() => now)).not.toContain(now)
    first.child.kill("SIGINT")
    const { code, output } = await first.ended
    expect([code, contentsOf(output)]).toEqual([130, TWENTY])
    await sendBatch(rig)
    const again = await start("--cursor-file", file).ended
    expect([again.code, contentsOf(again.output)]).toEqual([0, TWENTY])
  })

  it("says what is wrong with a cursor or its file", async () => {
    const file = join(folder, "other")
    await writeFile(file, "not a cursor\n")
    expect(await start("--cursor-file", file).ended).toMatchObject({
      code: 2,
      output: "",
      errors: expect.stringContaining("cursor"),
    })
    expect(await start("--after", "nonsense").ended).toMatchObject({
      code: 2,
      // With no advice to continue there.
      errors: expect.stringMatching(/^query\.after/),
    })
  })
})
