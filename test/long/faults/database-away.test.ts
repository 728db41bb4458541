import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { expect, it } from "vitest"

const SCRIPT = fileURLToPath(new URL("../../../bench/database-away.ts", import.meta.url))

it("answers 200 to every webhook while the database is away, and stores each once when it is back", async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [SCRIPT, "--seconds", "6", "--rate", "50"])
  // 3 seconds before and after, at 50 a second.
  expect(stdout).toContain("600 events in")
  expect(stdout).toContain('answers by status: {"200":600}')
  expect(stdout).toContain("stored: 600 rows, 600 different events")
})
