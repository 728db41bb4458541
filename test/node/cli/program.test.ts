import { execFile } from "node:child_process"
import { createHash } from "node:crypto"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { SCOPES } from "../../../src/signals/rules.ts"
import { run } from "./import/importer.ts"

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "signal-ingest-cli-"))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const signals = (...args: string[]) => run(folder, args)
const KAFKA = ["consume", "kafka", "--brokers", "127.0.0.1:9", "--topic", "t", "--group", "g"]

describe("the command line", () => {
  it.each([
    [[], 2, "Usage: signals [options] [command]"],
    [["--help"], 0, "Usage: signals [options] [command]"],
    [["help", "import"], 0, "Usage: signals import"],
    [["import", "slack", "--help"], 0, "Usage: signals import slack [options] <path>"],
    [["consume", "kafka", "--help"], 0, "--cluster <name>"],
    [["export", "--help"], 0, "--conversation <id>"],
    [["dlq"], 2, "Usage: signals dlq"],
    [["imprt"], 2, 'Unknown command "imprt". Did you mean "import"? Run "signals --help" for the list.'],
    [["frobnicate"], 2, 'Unknown command "frobnicate". Run "signals --help" for the list.'],
    [["import", "xml", "in.xml"], 2, 'Unknown command "xml". Run "signals import --help" for the list.'],
    [
      ["import", "jsonl"],
      2,
      'Missing required argument "file". Run "signals import jsonl --help" for its options.',
    ],
    [["import", "jsonl", "it's.jsonl"], 2, "it's.jsonl cannot be read: there is no such file or folder. Run"],
    [["import", "jsonl", "a", "b"], 2, "Expected 1 argument but got 2: a, b."],
    [["import", "jsonl", "a", "--batch-size", "0"], 2, "It must be a whole number from 1 to 10000."],
    [["import", "csv", "a", "--map", "room"], 2, "It must be COLUMN=FIELD."],
    [["import", "csv", "a", "--map", "room=conversation"], 2, 'a signal has no field "conversation"'],
    [["import", "jsonl", "a", "--batches", "5"], 2, 'Unknown option "--batches".'],
    [["import", "jsonl", "a", "--team", "T1"], 2, 'Unknown option "--team".'],
    [["import", "sql", "--query", "select 1"], 2, 'Required option "--from <url>" not specified.'],
    [["import", "jsonl", "a", "--url", "nowhere"], 2, "It must be an address"],
    [["consume", "pulsar"], 2, 'Unknown command "pulsar"'],
    [[...KAFKA, "--group", "a group"], 2, "--group must be a name without spaces."],
    [[...KAFKA, "--topic", ""], 2, "--topic must have 1 to 249 letters"],
    [[...KAFKA, "--brokers", "localhost:9092,"], 2, "--brokers must be HOST:PORT"],
    [[...KAFKA, "--brokers", "kafka://localhost:9092"], 2, "--brokers must be HOST:PORT"],
    [["consume", "kafka"], 2, 'Required option "--brokers <list>" not specified.'],
    [[...KAFKA, "--state", "x"], 2, 'Unknown option "--state".'],
    [[...KAFKA, "--from", "middle"], 2, "Allowed choices are earliest, latest."],
    [["dlq", "revive"], 2, 'Unknown command "revive".'],
    [["dlq", "replay"], 2, "Give the ids of dead letters, or --all."],
    [["dlq", "replay", "1", "--all"], 2, "Give ids or --all, not both."],
    [["dlq", "discard", "one"], 2, 'It must be an id, as "signals dlq list" prints it.'],
    [["dlq", "list", "--state", "dead"], 2, "Allowed choices are waiting, replayed, discarded."],
    [["key", "operator"], 2, 'Missing required argument "scope".'],
    [["key", "no spaces", "read"], 2, "It must have 1 to 100 letters, digits or . _ @ -."],
    [["key", "operator", "write"], 2, 'Argument "write" is invalid for argument "scope".'],
    [["completion", "tcsh"], 2, "Allowed choices are zsh, bash, fish, powershell."],
  ])("answers %j with code %i and a sentence", async (args, code, sentence) => {
    const ended = await signals(...args)
    expect([ended.code, `${ended.out}${ended.err}`]).toEqual([code, expect.stringContaining(sentence)])
    expect(ended.err).not.toMatch(/^\s+at /m)
  })

  it("prints a key whose entry has only its digest", async () => {
    const { out } = await signals("key", "operator", ...SCOPES)
    const [, key = "", entry = ""] =
      /^Key, shown only now: +(\S+)\nEntry for API_KEYS: +(.+)\n$/.exec(out) ?? []
    expect(JSON.parse(entry)).toEqual({
      name: "operator",
      sha256: createHash("sha256").update(key).digest("hex"),
      scopes: [...SCOPES],
    })
  })
})

describe("completion", () => {
  const completed = async (...words: string[]) =>
    (await signals("complete", "--", ...words)).out
      .trimEnd()
      .split("\n")
      .map((line) => line.split("\t")[0])

  it.each([
    [
      ["import", "s"],
      ["slack", "sql", "scores", ":4"],
    ],
    [
      ["consume", "kafka", "--s"],
      ["--sasl", ":4"],
    ],
    [
      ["export", "--format", ""],
      ["ndjson", "csv", "parquet", ":4"],
    ],
    [
      ["import", "jsonl", "--s"],
      ["--state", ":4"],
    ],
    [
      ["import", "csv", "--de"],
      ["--delimiter", "--deadline", ":4"],
    ],
    [
      ["dlq", "list", "--state", ""],
      ["waiting", "replayed", "discarded", ":4"],
    ],
    [
      ["key", "operator", "i"],
      ["ingest", ":4"],
    ],
    [["import", "jsonl", "fi"], [":0"]],
  ])("offers after %j only what applies there, and files where nothing else does", async (words, offered) => {
    expect(await completed(...words)).toEqual(offered)
  })

  it("prints a script that bash reads", async () => {
    const script = join(folder, "complete.sh")
    await writeFile(script, (await signals("completion", "bash")).out)
    await promisify(execFile)("bash", ["-n", script])
  })
})
