import { readdirSync, readFileSync } from "node:fs"
import { describe, expect, it } from "vitest"
import { parseAllDocuments } from "yaml"
import { FieldMapping } from "../../../src/bridges/kafka/mapping.ts"

const FOLDER = new URL("../../../deploy/kafka/", import.meta.url)
const FILES = readdirSync(FOLDER).filter((name) => name !== "README.md")
const read = (name: string) => readFileSync(new URL(name, FOLDER), "utf8")
const PAGE = readFileSync(new URL("../../../docs/kafka.md", import.meta.url), "utf8")

/** Reads a file by its ending, as the sink would; throws where it could not. */
function parse(name: string): unknown {
  if (name.endsWith(".json")) return JSON.parse(read(name))
  if (name.endsWith(".yaml"))
    return parseAllDocuments(read(name)).map((document) => {
      expect(document.errors).toEqual([])
      return document.toJS()
    })
  const lines = read(name)
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
  return Object.fromEntries(lines.map((line) => /^([\w.-]+)=(.+)$/.exec(line)?.slice(1) ?? [line, undefined]))
}

describe("the configuration for a sink", () => {
  it.each(FILES)("can be parsed, and has the service's address: %s", (name) => {
    const text = JSON.stringify(parse(name))
    expect(text).toContain("YOUR-WORKER")
    expect(text).toContain("/webhooks/kafka")
    expect(text).toMatch(/YOUR_KEY|whsec_YOUR_SECRET/)
  })

  it.each(FILES)("has its line in the table: %s", (name) => expect(PAGE).toContain(`| \`${name}\` |`))

  it("has a file for each row of the table", () => {
    const named = [...PAGE.matchAll(/\| `([\w-]+\.(?:json|yaml|properties))` \|/g)].map(([, name]) => name)
    expect(new Set(named)).toEqual(new Set(FILES))
  })
})

const textOf = (name: string) => JSON.stringify(parse(name))

describe("the configurations", () => {
  it("let Debezium Server send up to 500 changes in each call", () =>
    expect(parse("debezium-server.properties")).toMatchObject({
      "debezium.sink.http.batch.enabled": "true",
      "debezium.sink.http.batch.max-size": "500",
    }))

  it("let Knative give up before its doubling pauses take days", () => {
    const [source] = parse("knative.yaml") as { spec: { delivery: { retry: number } } }[]
    expect(2 ** (source?.spec.delivery.retry ?? Number.NaN)).toBeLessThan(24 * 3600)
  })

  it("let Redpanda Connect send a tombstone as null, and keep every digit of a number", () => {
    expect(textOf("redpanda-connect.yaml")).toContain("@kafka_tombstone_message")
    expect(textOf("redpanda-connect.yaml")).toContain("use_number: true")
  })
})

describe("the field mapping in the page", () => {
  it("is valid for the service", () => {
    const example = /```jsonc\n([\s\S]*?)```/.exec(PAGE)?.[1] ?? ""
    expect(FieldMapping.safeParse(JSON.parse(example)).error).toBeUndefined()
  })

  it("has every name that the service knows", () => {
    const named = [...PAGE.matchAll(/^\| ((?:`\w+`(?:, )?)+) \| `/gm)].flatMap(([, names]) =>
      [...(names ?? "").matchAll(/`(\w+)`/g)].map(([, name]) => name),
    )
    expect(new Set(named)).toEqual(new Set(Object.keys(FieldMapping.shape)))
  })
})
