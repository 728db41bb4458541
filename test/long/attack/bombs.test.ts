import { readFileSync } from "node:fs"
import { Readable } from "node:stream"
import { buffer } from "node:stream/consumers"
import {
  constants,
  createBrotliCompress,
  createDeflate,
  createGzip,
  createZstdCompress,
  zstdCompressSync,
} from "node:zlib"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type Rig, startRig } from "../../setup/rig.ts"

const MIB = 1024 * 1024
/** What a bomb unfolds to. */
const BOMB_MIB = 2048
/** The output at its limit, twice while the parts are joined, and the window of a decoder. */
const MAX_GROWTH_MIB = 48
/** CPU, since the time depends on what else runs. */
const MAX_CPU_MS = 2000

/** Spaces: a body of them is JSON that never begins. */
function* spaces() {
  const chunk = Buffer.alloc(4 * MIB, " ")
  for (let made = 0; made < BOMB_MIB; made += 4) yield chunk
}

const BOMBS: Record<string, { encoding: string; make: () => Promise<Buffer>; status: number }> = {
  gzip: { encoding: "gzip", make: () => buffer(Readable.from(spaces()).pipe(createGzip())), status: 413 },
  deflate: {
    encoding: "deflate",
    make: () => buffer(Readable.from(spaces()).pipe(createDeflate())),
    status: 413,
  },
  br: {
    encoding: "br",
    make: () =>
      buffer(
        Readable.from(spaces()).pipe(
          createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: 1 } }),
        ),
      ),
    status: 413,
  },
  zstd: {
    encoding: "zstd",
    make: () => buffer(Readable.from(spaces()).pipe(createZstdCompress())),
    status: 413,
  },
  "zstd with a window of 128 MiB": {
    encoding: "zstd",
    make: () =>
      buffer(
        Readable.from(spaces()).pipe(createZstdCompress({ params: { [constants.ZSTD_c_windowLog]: 27 } })),
      ),
    status: 422,
  },
  "zstd of 600,000 empty frames": {
    encoding: "zstd",
    make: async () => Buffer.concat(Array(600_000).fill(zstdCompressSync(""))),
    status: 422,
  },
}

/** The CPU of a process and its threads so far, in ms. Linux counts it in hundredths of a second. */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ")
  return (Number(fields[11]) + Number(fields[12])) * 10
}

/** The largest resident set so far, in MiB. */
function peakMiB(pid: number): number {
  const [, kib] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? []
  return Number(kib) / 1024
}

describe(`a body that unfolds to ${BOMB_MIB / 1024} GiB`, () => {
  let rig: Rig
  const post = (body: Buffer, encoding: string) =>
    fetch(`${rig.service.address}/api/signals/batch`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "Content-Encoding": encoding },
      body: body as Buffer<ArrayBuffer>,
    })
  beforeAll(async () => {
    rig = await startRig({}, { v8Flags: ["--max-heap-size=128"] })
    // What any body of 8 MiB takes is no part of the growth.
    await (await post(Buffer.alloc(8 * MIB, " "), "identity")).arrayBuffer()
  })
  afterAll(() => rig?.stop())

  it.each(Object.entries(BOMBS))("is refused in little memory and CPU: %s", async (name, bomb) => {
    const body = await bomb.make()
    const before = peakMiB(rig.service.pid)
    const cpuBefore = cpuMs(rig.service.pid)
    const answers = await Promise.all(Array.from({ length: 4 }, () => post(body, bomb.encoding)))
    const ms = cpuMs(rig.service.pid) - cpuBefore
    const growth = peakMiB(rig.service.pid) - before
    console.log(`${name}: ${body.length} bytes, 4 at once in ${ms} ms of CPU, +${growth.toFixed(1)} MiB`)
    expect(answers.map(({ status }) => status)).toEqual(Array(4).fill(bomb.status))
    expect(growth).toBeLessThan(MAX_GROWTH_MIB)
    expect(ms).toBeLessThan(4 * MAX_CPU_MS)
  })
})
