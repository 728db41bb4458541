import { type ChildProcessWithoutNullStreams, execFile, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { FolderInUse, lockOwnFolder } from "../../../../src/client/spool/lock.ts"
import { openSpool } from "../../../../src/client/spool/spool.ts"

const CONTENDER = fileURLToPath(new URL("contender.ts", import.meta.url))
/** `ROUNDS=300 npx vitest run test/node/client/spool/lock.test.ts` runs more rounds. */
const ROUNDS = Number(process.env.ROUNDS ?? 20)

let folder: string
const children: ChildProcessWithoutNullStreams[] = []
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "lock-"))
})
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL")
  await rm(folder, { recursive: true, force: true })
})

function startContender(command = process.execPath, args = [CONTENDER]) {
  const child = spawn(command, args)
  children.push(child)
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    child,
    async ask(line: string): Promise<string> {
      child.stdin.write(`${line}\n`)
      return (await lines.next()).value ?? "ended"
    },
  }
}

/** A PID namespace needs a privilege that not every machine grants. */
const UNSHARE = ["--pid", "--fork", "--kill-child", process.execPath, CONTENDER]
const canUnshare = await promisify(execFile)("unshare", ["--pid", "--fork", "true"]).then(
  () => true,
  () => false,
)
if (!canUnshare) console.log("skipped: unshare --pid is not available here")

describe("the lock of a spool", () => {
  it("is refused to the same process and to another, with the holder's process id", async () => {
    const spool = await openSpool(folder)
    await expect(openSpool(folder)).rejects.toThrow(`in use by process ${process.pid} on `)
    expect(await startContender().ask(folder)).toContain(`in use by process ${process.pid} on `)
    await spool.close()
    await (await openSpool(folder)).close()
  })

  it("ends with a killed holder, and leaves at most one file", async () => {
    for (let round = 0; round < 3; round++) {
      const { child, ask } = startContender()
      expect(await ask(folder)).toBe("won")
      child.kill("SIGKILL")
      await once(child, "close")
    }
    await (await openSpool(folder)).close()
    expect(
      (await readdir(folder)).filter((name) => name.endsWith(".lock") && name !== "reserve.lock"),
    ).toEqual(["4.lock"])
  })

  it.skipIf(process.platform === "win32")("stays with a paused holder", async () => {
    const { child, ask } = startContender()
    expect(await ask(folder)).toBe("won")
    child.kill("SIGSTOP")
    await expect(openSpool(folder)).rejects.toThrow("in use")
    child.kill("SIGCONT")
  })

  it("ignores the process id, even its own after a crash, and the lock of version 0.1.0", async () => {
    await writeFile(join(folder, "lock"), `${process.pid}\n`)
    await writeFile(
      join(folder, "7.lock"),
      JSON.stringify({ address: "signal-ingest-00000000.sock", pid: process.pid, host: "h" }),
    )
    await (await openSpool(folder)).close()
    await writeFile(join(folder, "9.lock"), "")
    await (await openSpool(folder)).close()
  })

  it("holds where the folder's path is too long for a socket", async () => {
    const long = join(folder, "x".repeat(120))
    const spool = await openSpool(long)
    expect(await startContender().ask(long)).toContain("in use")
    await spool.close()
  })

  it.skipIf(!canUnshare)(
    "holds between containers, in each of which the process is 1, and ends with them",
    async () => {
      const first = startContender("unshare", UNSHARE)
      const second = startContender("unshare", UNSHARE)
      expect(await first.ask(folder)).toBe("won")
      expect(await second.ask(folder)).toContain("in use by process 1 on")
      first.child.kill("SIGKILL")
      await once(first.child, "close")
      await expect.poll(() => second.ask(folder)).toBe("won")
    },
  )

  it(`is taken by one of two processes that find a dead holder, ${ROUNDS} times`, {
    timeout: 300_000 + ROUNDS * 1000,
  }, async () => {
    const contenders = [startContender(), startContender()]
    const askBoth = (line: string) => Promise.all(contenders.map(({ ask }) => ask(line)))
    const outcomes: Record<string, number> = {}
    for (let round = 0; round < ROUNDS; round++) {
      const one = join(folder, String(round))
      const dead = await openSpool(one)
      await dead.close()
      const outcome = (await askBoth(one))
        .map((line) => line.split(":")[0])
        .sort()
        .join("+")
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
      await askBoth("")
    }
    expect(outcomes).toEqual({ "refused+won": ROUNDS })
  })
})

describe("the lock of a folder that exists only for it", () => {
  it("is held by one process at a time, and leaves no file behind", async () => {
    const own = join(folder, "state.json.lock")
    let holders = 0
    let won = 0
    let refused = 0
    const contend = async () => {
      for (let round = 0; round < 5 * ROUNDS; round++) {
        const release = await lockOwnFolder(own, "The state").catch((error) => {
          expect(error).toBeInstanceOf(FolderInUse)
          refused++
        })
        if (!release) continue
        won++
        expect(++holders).toBe(1)
        await sleep(Math.random() * 2)
        expect(holders--).toBe(1)
        await release()
      }
    }
    await Promise.all(Array.from({ length: 6 }, contend))
    expect(won).toBeGreaterThan(ROUNDS)
    expect(refused).toBeGreaterThan(0)
    expect(await readdir(folder)).toEqual([])
  })

  it("replaces the lock of a killed process, and leaves no file behind", async () => {
    const own = join(folder, "state.json.lock")
    await mkdir(own)
    await writeFile(
      join(own, "7.lock"),
      JSON.stringify({ address: "signal-ingest-00000000.sock", pid: 1, host: "h" }),
    )
    const release = await lockOwnFolder(own, "The state")
    await expect(lockOwnFolder(own, "The state")).rejects.toThrow(
      `The state is in use by process ${process.pid} on `,
    )
    await release()
    expect(await readdir(folder)).toEqual([])
  })
})
