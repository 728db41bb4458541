import { readFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { Client } from "pg"
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest"
import { type NeonEndpoint, startNeonEndpoint } from "../../../src/local/neon/endpoint.ts"
import { migrate } from "../../../src/local/postgres/migrate.ts"
import { startTemporaryPostgres } from "../../../src/local/postgres/postgres.ts"
import { createServiceLogin } from "../../../src/local/postgres/service-login.ts"
import { describeCatalog } from "../../node/local/postgres/catalog.ts"
import { otherVersions } from "../../setup/postgres/versions.ts"
import { queryAt } from "../../setup/rig.ts"
import { runBundle } from "../../setup/workerd.ts"
import { type Caller, callerOf } from "./caller.ts"
import { buildFormer, commitBefore, type FormerVersion } from "./former.ts"

const MIGRATIONS = (
  JSON.parse(readFileSync(new URL("../../../drizzle/meta/_journal.json", import.meta.url), "utf8")) as {
    entries: { tag: string }[]
  }
).entries.map(({ tag }) => tag)
const [, second = ""] = MIGRATIONS
const newest = MIGRATIONS.at(-1) ?? ""

const SERVERS = [
  ...otherVersions().map(({ major, programs }) => ({ major: String(major), programs })),
  { major: "18, the embedded one", programs: undefined },
]

/** Batches that fill the database before the upgrade, and signals of each. */
const FILL = { batches: 40, signals: 500 }
/** Callers that send while the migrations run. */
const CALLERS = 4
/** Batches that each caller sends after the migrations have ended. */
const AFTER = 5

const FORMERS = [
  { of: "only the first migration", commit: commitBefore(second) },
  { of: "all migrations but the newest", commit: commitBefore(newest) },
]

describe.each(FORMERS)("a database with $of", ({ commit }) => {
  let former: FormerVersion
  let endpoint: NeonEndpoint

  beforeAll(async () => {
    if (commit === undefined) return
    former = await buildFormer(commit)
    endpoint = await startNeonEndpoint()
  })
  afterAll(async () => {
    await endpoint?.stop()
    await former?.remove()
  })

  describe.each(SERVERS)("on Postgres $major", ({ programs }) => {
    const stops: (() => Promise<void>)[] = []
    let owner: string
    let database: string
    /** The former Worker, started before the migrations and never again. */
    let before: Caller
    let after: Caller

    const serve = async (bundle: FormerVersion["bundle"]): Promise<Caller> => {
      const service = await runBundle(bundle, {
        DATABASE_URL: database,
        DATABASE_HTTP_ENDPOINT: endpoint.url,
        OPEN_ACCESS: "true",
      })
      stops.unshift(() => service.stop())
      return callerOf(service.address)
    }

    const run = it.skipIf(commit === undefined)

    beforeAll(async () => {
      if (commit === undefined) return
      const postgres = await startTemporaryPostgres(tmpdir(), { programs })
      stops.unshift(() => postgres.stop())
      owner = postgres.url
      await former.migrate(owner)
      database = await createServiceLogin(owner)
      before = await serve(former.bundle)
      for (let batch = 0; batch < FILL.batches; batch++) await before.send(`filled ${batch}`, FILL.signals)
      await before.sendDeadLetter()
      await before.erase("erased before")
    })
    afterAll(async () => {
      for (const stop of stops) await stop()
    })

    run("migrates while the former Worker stores, and no batch fails or is stored twice", async () => {
      let isDone = false
      const callers = Array.from({ length: CALLERS }, async (_, caller) => {
        let left = AFTER
        for (let batch = 0; left > 0; batch++) {
          await before.send(`during ${caller} ${batch}`, 20)
          if (isDone) left--
        }
      })
      const applied = await migrate(owner)
      isDone = true
      await Promise.all(callers)
      expect(applied).toEqual(MIGRATIONS.slice(MIGRATIONS.length - applied.length))
      expect(applied).toContain(newest)
      expect(await before.misstored((text) => queryAt(owner, text))).toEqual([])
    })

    run("has the schema of a new database", async () => {
      await queryAt(owner, "create database fresh")
      const fresh = Object.assign(new URL(owner), { pathname: "fresh" }).href
      await migrate(fresh)
      const catalogOf = async (url: string) => {
        const client = new Client({ connectionString: url })
        await client.connect()
        try {
          return (await describeCatalog(client)).filter((line) => !/\bsignals_p?\d+/.test(line))
        } finally {
          await client.end()
        }
      }
      expect(await catalogOf(owner)).toEqual(await catalogOf(fresh))
    })

    run("still serves the former Worker", async () => {
      await before.useEverything("former on the new schema")
    })

    run("serves the new Worker beside it, which answers its batches from the ledger", async () => {
      after = await serve(inject("bundle"))
      for (const { key, transactionId, size } of before.sent.slice(0, 5))
        expect(await after.send(key, size)).toBe(transactionId)
      await after.useEverything("new")
      expect(await after.feedIds()).toEqual(await before.feedIds())
    })

    run("lets the former Worker take over again, with all that the new one stored", async () => {
      await after.useNewest()
      await before.useEverything("former after the new one")
      for (const { key, transactionId, size } of after.sent.slice(-3))
        expect(await before.send(key, size)).toBe(transactionId)
      expect(await before.misstored((text) => queryAt(owner, text))).toEqual([])
      expect(await after.misstored((text) => queryAt(owner, text))).toEqual([])
      expect(new Set(await before.feedIds())).toEqual(new Set(await after.feedIds()))
    })

    run("passes the audit of the new Worker", async () => {
      expect(await after.audit()).toEqual([])
    })
  })
})
