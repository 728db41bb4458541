import { readFileSync } from "node:fs"
import { describe, expect, it } from "vitest"
import { released, VERSIONED } from "../../../scripts/version.ts"

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), "utf8")
const { version } = JSON.parse(read("package.json")) as { version: string }

describe("the version", () => {
  it.each(Object.entries(VERSIONED))("in %s is that of package.json", (path, pattern) =>
    expect(pattern.exec(read(path))?.[0]).toBe(version),
  )

  it("has a dated section in the changelog, below what is not released yet", () => {
    const headings = [...read("CHANGELOG.md").matchAll(/^## \[(.+?)\](?: - (\d{4}-\d{2}-\d{2}))?$/gm)]
    expect(headings[0]?.[1]).toBe("Unreleased")
    expect(headings[1]?.[1]).toBe(version)
    expect(headings[1]?.[2]).toBeDefined()
  })

  it("takes over what was unreleased", () =>
    expect(released("# Changelog\n\n## [Unreleased]\n\n- a change\n", "2.1.0", "2027-01-31")).toBe(
      "# Changelog\n\n## [Unreleased]\n\n## [2.1.0] - 2027-01-31\n\n- a change\n",
    ))
})
