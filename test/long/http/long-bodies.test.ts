import { execFile } from "node:child_process"
import { promisify } from "node:util"
import { describe, expect, it } from "vitest"
import { useRig } from "../../setup/hooks/rig.ts"
import { has } from "../../setup/processes.ts"

const MIB = 1024 * 1024

const file = (name: string) => new URL(`./clients/${name}`, import.meta.url).pathname

const rig = useRig()

/** Programs that send a chunked body and then a small batch, and print both statuses. */
const CLIENTS: [string, boolean, string, string[]][] = [
  ["Python's requests", has("python3", "-c", "import requests"), "python3", [file("chunked.py")]],
  ["Go's net/http", has("go", "version"), "go", ["run", file("chunked.go")]],
  ["Java's HttpClient", has("javac", "--version"), "java", [file("Chunked.java")]],
] as const

describe.each(CLIENTS)("a chunked body over the limit, sent by %s", (_, isThere, command, args) => {
  it.runIf(isThere).each([9 * MIB, 24 * MIB, 64 * MIB])(
    "of %i bytes gets its 413, and the next request of the connection works",
    async (bytes) => {
      const sent = await promisify(execFile)(command, [...args, rig.service.address, String(bytes)])
      expect(sent.stdout).toBe("413 200\n")
    },
  )
})
