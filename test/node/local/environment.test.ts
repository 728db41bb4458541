import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { unstable_getVarsForDev as readAsWrangler } from "wrangler"
import { type Environment, envFileText } from "../../../src/local/environment.ts"

/** The settings as the Worker gets them, read by wrangler's own code. */
async function handedOver(environment: Environment): Promise<Record<string, unknown>> {
  const folder = await mkdtemp(join(tmpdir(), "signal-ingest-test-"))
  const file = join(folder, "env")
  await writeFile(file, envFileText(environment))
  const bindings = readAsWrangler(undefined, [file], {}, undefined, true)
  await rm(folder, { recursive: true })
  return Object.fromEntries(Object.entries(bindings).map(([name, binding]) => [name, "value" in binding && binding.value]))
}

describe("settings on their way to the Worker", () => {
  it.each([
    "postgresql://user:pa%24s@host/db?options=a%3Db",
    '[{"name": "bridge", "sha256": "00", "scopes": ["ingest"]}]',
    "$HOME $$ \\$HOME \\",
    `\${HOME}`,
    'it\'s #1 = "one"',
    "back`tick \\n is no line end",
    " spaces around ",
    "two\nlines",
  ])("arrive as they are: %j", async (value) =>
    expect(await handedOver({ API_KEYS: value, SLACK_SIGNING_SECRET: value, DATABASE_URL: "next" })).toEqual({
      API_KEYS: value,
      SLACK_SIGNING_SECRET: value,
      DATABASE_URL: "next",
    }),
  )

  it("are refused by name when they can't", () =>
    expect(() => envFileText({ WEBHOOK_SECRET: "s3cret'`" })).toThrow(
      "WEBHOOK_SECRET holds both ' and `, which can't be handed to the Worker.",
    ))
})
