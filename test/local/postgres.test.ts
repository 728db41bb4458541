import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Client } from "pg"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { migrate } from "../../src/local/migrate.ts"
import { startPostgres } from "../../src/local/postgres.ts"
import { StartupError } from "../../src/local/startup-error.ts"

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "signal-ingest-test-"))
  await chmod(folder, 0o755)
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const ask = async (url: string, text: string) => {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

const isAlive = (pid: number) => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

describe("the embedded Postgres", () => {
  it("counts characters, not bytes, whatever the machine's locale", async () => {
    const postgres = await startPostgres(join(folder, "data"))
    expect(
      await ask(postgres.url, "select length('\u00e9\u{1F600}') as characters, current_setting('server_encoding') as encoding"),
    ).toEqual([{ characters: 2, encoding: "UTF8" }])
    await postgres.stop()
    expect(isAlive(postgres.pid)).toBe(false)
  })

  it("finds its data again, also after a crash", async () => {
    const first = await startPostgres(join(folder, "data"))
    await ask(first.url, "create table kept (a int)")
    await first.stop()
    const second = await startPostgres(join(folder, "data"))
    await ask(second.url, "insert into kept values (1)")
    await second.kill()
    await second.restart()
    expect(await ask(second.url, "select a from kept")).toEqual([{ a: 1 }])
    await second.stop()
  })

  it("refuses a folder that is in use, naming the process", async () => {
    const postgres = await startPostgres(join(folder, "data"))
    await expect(startPostgres(join(folder, "data"))).rejects.toThrow(
      `A Postgres server (process ${postgres.pid}) already runs on`,
    )
    await postgres.stop()
  })

  it("ends a server that a killed npm start has left behind", async () => {
    const orphan = await startPostgres(join(folder, "data"))
    // No process has this id: it is above what the kernel gives out.
    await writeFile(join(folder, "data", "started-by.pid"), "4194305")
    const postgres = await startPostgres(join(folder, "data"))
    expect(isAlive(orphan.pid)).toBe(false)
    expect(await ask(postgres.url, "select 1 as one")).toEqual([{ one: 1 }])
    await postgres.stop()
  })

  it.each([
    ["of another version", "PG_VERSION", "was made by Postgres 15, and this is 18"],
    ["of something else", "notes.txt", "is not empty and holds no database"],
  ])("refuses a folder %s in one sentence", async (_, file, sentence) => {
    await mkdir(join(folder, "data"))
    await writeFile(join(folder, "data", file), "15\n")
    const refused = startPostgres(join(folder, "data"))
    await expect(refused).rejects.toBeInstanceOf(StartupError)
    await expect(refused).rejects.toThrow(sentence)
  })
})

describe("the migrations", () => {
  it("are applied once, also by two at the same time", async () => {
    const postgres = await startPostgres(join(folder, "data"))
    const applied = await Promise.all([migrate(postgres.url), migrate(postgres.url)])
    expect(applied.toSorted()).toEqual([0, 2])
    expect(await ask(postgres.url, "select to_regclass('signals') is not null as there")).toEqual([{ there: true }])
    await postgres.stop()
  })

  it("say why they can't be, without the password", async () => {
    await expect(migrate("postgresql://user:s3cret@localhost:1/db")).rejects.toThrow(
      /^The database could not be migrated: (?!.*s3cret)/,
    )
    await expect(migrate("s3cret")).rejects.toThrow(
      "DATABASE_URL is not a connection string: postgresql://user:password@host/database.",
    )
  })
})
