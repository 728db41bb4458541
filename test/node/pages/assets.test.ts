import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { validate } from "@scalar/openapi-parser"
import { describe, expect, it } from "vitest"
import { ROOT } from "../../../src/local/machine/root.ts"

/** A file that is served, as the build has left it before the tests began. */
const asset = (name: string) => readFile(join(ROOT, "dist/assets", name), "utf8")

/** The Content-Security-Policy that a page is served with. */
async function policyOf(path: string): Promise<string> {
  const blocks = (await asset("_headers")).split("\n\n")
  return (
    /Content-Security-Policy: (.*)/.exec(blocks.find((block) => block.startsWith(`${path}\n`)) ?? "")?.[1] ??
    ""
  )
}

it("every static file requires HTTPS, and its type cannot be changed by the browser", async () => {
  const [all] = (await asset("_headers")).split("\n\n")
  expect(all?.split("\n")[0]).toBe("/*")
  expect(all).toMatch(/Strict-Transport-Security: max-age=\d{7,}/)
  expect(all).toContain("X-Content-Type-Options: nosniff")
})

describe("/openapi.json", () => {
  it("is a valid OpenAPI 3.1 document", async () => {
    const { valid, errors, version } = await validate(await asset("openapi.json"))
    expect(errors).toEqual([])
    expect([valid, version]).toEqual([true, "3.1"])
  })
})

describe.each(["/", "/docs"])("the page %s", (path) => {
  const page = () => asset(path === "/" ? "index.html" : `${path.slice(1)}.html`)

  it("names no other origin", async () => {
    const addresses = [...(await page()).matchAll(/(?:src|href)="([^"]*)"/g)].map(([, address]) => address)
    expect(addresses.length).toBeGreaterThan(0)
    for (const address of addresses) expect(address).toMatch(/^(\/(?!\/)|#)/)
  })

  it("runs only the service's own scripts, and sends no request to other origins", async () => {
    const policy = await policyOf(path)
    for (const directive of [
      "default-src 'none'",
      "script-src 'self'",
      "connect-src 'self'",
      "frame-ancestors 'none'",
    ])
      expect(policy.split("; ")).toContain(directive)
  })

  it("has every file that it asks for", async () => {
    const files = [...(await page()).matchAll(/(?:src|href)="\/([\w.-]+\.\w+)"/g)].map(
      ([, name = ""]) => name,
    )
    for (const name of files) expect((await asset(name)).length, name).toBeGreaterThan(0)
  })
})
