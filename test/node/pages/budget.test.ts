import { execFile } from "node:child_process"
import { readFile } from "node:fs/promises"
import { promisify } from "node:util"
import { gzipSync } from "node:zlib"
import { expect, it } from "vitest"

const BUDGET_BYTES = 60_000
const FILES = ["index.html", "dashboard.js", "dashboard.css", "favicon.svg"]

it(`the dashboard is less than ${BUDGET_BYTES / 1000} KB gzipped in all`, async () => {
  await promisify(execFile)("npm", ["run", "--silent", "assets"])
  const page = await readFile("dist/assets/index.html", "utf8")
  const asked = [...page.matchAll(/(?:src|href)="\/([\w.-]+\.\w+)"/g)].map(([, name]) => name)
  expect(new Set(["index.html", ...asked])).toEqual(new Set(FILES))
  const sizes = await Promise.all(
    FILES.map(async (name) => gzipSync(await readFile(`dist/assets/${name}`)).length),
  )
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(BUDGET_BYTES)
})
