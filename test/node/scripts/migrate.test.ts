import { spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { once } from "node:events"
import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"
import { migrate } from "../../../src/local/postgres/migrate.ts"
import { startTemporaryPostgres } from "../../../src/local/postgres/postgres.ts"
import { queryAt } from "../../setup/rig.ts"

const SCRIPT = fileURLToPath(new URL("../../../scripts/migrate.ts", import.meta.url))
const JOURNAL = JSON.parse(
  readFileSync(new URL("../../../drizzle/meta/_journal.json", import.meta.url), "utf8"),
)
const DRIZZLE = new URL("../../../drizzle/", import.meta.url)
const NAMES = (JOURNAL.entries as { tag: string }[]).map(({ tag }) => tag)

describe("the migrations", () => {
  it("are applied once, even by two migrators at the same time", async () => {
    const postgres = await startTemporaryPostgres()
    const applied = await Promise.all([migrate(postgres.url), migrate(postgres.url)])
    expect(applied.flat()).toEqual(NAMES)
    expect(applied).toContainEqual([])
    expect(await queryAt(postgres.url, "select to_regclass('signals') is not null as there")).toEqual([
      { there: true },
    ])
    await postgres.stop()
  })

  it.each(readdirSync(new URL("functions/", DRIZZLE)))(
    "name %s with its hash, so that a change of it is a migration",
    (file) => {
      const hash = createHash("sha256")
        .update(readFileSync(new URL(`functions/${file}`, DRIZZLE)))
        .digest("hex")
      const newest = NAMES.map((name) => readFileSync(new URL(`${name}.sql`, DRIZZLE), "utf8")).findLast(
        (text) => text.includes(`-- functions/${file} `),
      )
      expect(newest).toContain(`-- functions/${file} ${hash.slice(0, 8)}`)
    },
  )

  it("say why they cannot be applied, without the password", async () => {
    await expect(migrate("postgresql://user:s3cret@localhost:1/db")).rejects.toThrow(
      /^The database could not be migrated: connect ECONNREFUSED(?!.*s3cret)/,
    )
    await expect(migrate("s3cret")).rejects.toThrow(
      "DATABASE_URL is not a connection string: postgresql://user:password@host/database.",
    )
  })
})

async function run(databaseUrl: string) {
  const child = spawn(process.execPath, [SCRIPT], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, DATABASE_URL: databaseUrl },
  })
  let said = ""
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (said += text))
  const [code] = await once(child, "close")
  return [code, said.trim()]
}

describe("npm run db:migrate", () => {
  it("prints the applied migrations, and that there was nothing to do", async () => {
    const postgres = await startTemporaryPostgres()
    expect(await run(postgres.url)).toEqual([0, ["Applied:", ...NAMES].join("\n  ")])
    expect(await run(postgres.url)).toEqual([0, "The database is up to date."])
    await postgres.stop()
  })

  it("uses Neon's direct host instead of the pooled one, and says so", async () => {
    const [code, said] = await run(
      "postgresql://user:s3cret@ep-none-1-pooler.nowhere.neon.tech/db?sslmode=require&channel_binding=require",
    )
    expect(code).toBe(1)
    expect(said).toMatch(
      /^DATABASE_URL names Neon's pooled host\. The migrations use the direct host\.\nThe database could not be migrated: .*ep-none-1\.nowhere/,
    )
    expect(said).not.toContain("s3cret")
  })
})
