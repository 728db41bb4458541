import { execFile } from "node:child_process"
import { createWriteStream, existsSync, readdirSync, readFileSync } from "node:fs"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { pipeline } from "node:stream/promises"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { gzipSync } from "node:zlib"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { ZipFile } from "yazl"
import { type Rig, startRig } from "../../setup/rig.ts"

const ROOT = fileURLToPath(new URL("../../../", import.meta.url))

/** Every page of the documentation by its path. */
const PAGES = [
  "README.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  "SUPPORT.md",
  ...readdirSync(join(ROOT, "docs"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`),
]
const textOf = (page: string) => readFileSync(join(ROOT, page), "utf8")

const { version, scripts, dependencies, devDependencies } = JSON.parse(textOf("package.json")) as {
  version: string
} & Record<"scripts" | "dependencies" | "devDependencies", Record<string, string>>

/** Each block of shell with the page it stands on; a block of JSON behind it is its answer. */
const shellBlocks = PAGES.flatMap((page) => {
  const blocks = [...textOf(page).matchAll(/```(\w+)\n([\s\S]*?)```/g)].map(
    ([, language = "", text = ""]) => ({
      language,
      text,
    }),
  )
  return blocks.flatMap(({ language, text }, position) => {
    const next = blocks[position + 1]
    return language === "sh"
      ? [{ page, text, answer: next?.language === "json" ? next.text : undefined }]
      : []
  })
})
const calls = shellBlocks.filter(({ text }) => text.includes("http://localhost:8002/"))

/** Each line of the blocks that call commands of this project. */
const commands = shellBlocks
  .filter((block) => !calls.includes(block))
  .flatMap(({ page, text }) =>
    text
      .replaceAll(/\\\n\s*/g, "")
      .split("\n")
      .map((line) => ({ page, command: line.replace(/\s+#.*$/, "").trim() }))
      .filter(({ command }) => command !== "" && !command.startsWith("#")),
  )
const importerCommands = commands.filter(({ command }) => /^npm run (?:-s )?signals -- /.test(command))

/**
 * Commands that this file cannot run, since they install, do not end, or contain this file, and the test that
 * runs each instead.
 */
const RUN_ELSEWHERE: Record<string, string> = {
  "npm ci && npm start": "test/long/start/start.test.ts",
  "npm ci && npm test": ".ci/run",
  "npm start": "test/long/start/start.test.ts",
  "npm start -- --database-only": "test/long/start/stop.test.ts",
  "docker compose up -d":
    "test/node/deploy/docker.test.ts compares the files with the code; no engine runs here",
  "docker compose logs app | tail -20": "test/node/deploy/docker.test.ts, which knows the service's name",
  [`npm install ./signal-ingest-${version}.tgz`]: "test/long/package/package.test.ts",
  "npx wrangler dev --env-file .data/dev.vars":
    "by hand, since it runs until it is stopped and opens a debugger",
  "npm test": ".ci/run",
  "npm run interleavings": "npm test runs a part of it",
  "npm run check:history -- test-results/history/stress-7.jsonl": "test/node/history/large.test.ts",
  "npm run check:history -- FILE": "test/node/history/large.test.ts",
  "npm run python": ".ci/run",
  "npm run stress": ".ci/run runs a part of it",
  "pip install ./python": "npm run python installs it so",
  "pip install './python[prometheus]'": "npm run python installs it so",
  "pip install './python[opentelemetry]'": "npm run python installs it so",
  "npm run test:all": ".ci/run runs its two parts",
  "npm run simulate -- --callers 12 --batches-per-second 0.2 --batch 500 --road sync --colos 3 --cu 1":
    "test/node/simulate/simulate.test.ts",
  "npm run check": ".ci/run",
  "npm run smoke": ".ci/run",
  "npm run format": "npm run check fails where it has not been run",
  "npm run faults": "npm run test:long runs the same files",
  "npm run test:postgres -- 15": "by hand, see docs/operate.md#which-postgres; .github/workflows/ci.yml",
  "npm run attack": "npm run test:long runs the short form",
  "npm run fuzz": "test/long/fuzz/fuzz.test.ts runs the same suites",
  "npm run bench -- --quick": "by hand, see docs/benchmarks/README.md",
  "npm run deploy": ".ci/run, as release:dry-run, and test/node/scripts/migrate.test.ts",
  'pg_dump --format=custom --no-owner --file=signals.dump "$OWNER_URL"': "test/long/restore/restore.test.ts",
  'psql "$NEW_OWNER_URL" --command "create role signal_ingest_writer"': "test/long/restore/restore.test.ts",
  'pg_restore --no-owner --exit-on-error --dbname="$NEW_OWNER_URL" signals.dump':
    "test/long/restore/restore.test.ts",
  ".ci/run": "itself",
}

/** Ids differ from run to run; everything else must be as the page says. */
const comparable = (text: string): unknown =>
  JSON.parse(text, (name, value) =>
    name === "signal_id" && value !== null
      ? "an id"
      : name === "transaction_id" && value !== null
        ? "a batch"
        : value,
  )

let rig: Rig
let folder: string

/** The files and the table that the commands of the pages name. */
async function makeSources(): Promise<void> {
  folder = await mkdtemp(join(tmpdir(), "signal-ingest-docs-"))
  const zip = new ZipFile()
  const message = { type: "message", user: "U1", text: "Hello", ts: "1355517523.000005", team: "T1" }
  zip.addBuffer(Buffer.from(JSON.stringify([{ id: "C1", name: "general" }])), "channels.json")
  zip.addBuffer(Buffer.from(JSON.stringify([message])), "general/2012-12-14.json")
  zip.end()
  await pipeline(zip.outputStream, createWriteStream(join(folder, "export.zip")))
  await writeFile(join(folder, "scores.csv"), "id,judged,signal_score\nmsg-1,2026-01-01T00:00:00Z,0.5\n")
  await writeFile(join(folder, "messages.csv"), "id,room,body\n1,a,Hello\n")
  await writeFile(join(folder, "signals.jsonl.gz"), gzipSync('{"context_window_id": "docs-jsonl"}\n'))
  const corrected = {
    context_window_id: "docs-corrected",
    _error: "context_window_id must not be blank",
    _place: "in.jsonl:1",
  }
  await writeFile(join(folder, "failed.jsonl"), `${JSON.stringify(corrected)}\n`)
  await rig.query("create table messages as select 1 as id, 'a' as room, 'Hello' as body")
}

beforeAll(async () => {
  rig = await startRig({ SUBSCRIPTION_SECRET: "a-secret-of-the-tests-for-sealing-only" })
  await makeSources()
})
afterAll(async () => {
  await rig?.stop()
  if (folder) await rm(folder, { recursive: true, force: true })
})

/**
 * Runs a command of a page in the folder of the sources, against the service and the database of this test.
 */
function runCommand(command: string) {
  const text = command
    .replace(
      /^npm run (?:-s )?signals -- /,
      () => `node ${join(ROOT, scripts?.signals?.split(" ")[1] ?? "")} `,
    )
    .replaceAll("http://localhost:8002", rig.service.address)
    .replace("postgres://localhost/chat", rig.postgres.url)
  const env = { ...process.env, SIGNAL_INGEST_URL: rig.service.address }
  return promisify(execFile)("sh", ["-ec", text], { cwd: folder, env })
}

describe("the documentation", () => {
  it.each(calls)("$page has a call that works as printed: $text", async ({ text, answer }) => {
    const { stdout } = await runCommand(text)
    if (answer !== undefined) expect(comparable(stdout)).toEqual(comparable(answer))
    expect(stdout).not.toContain('"detail":"Internal')
  })

  // A consumer of Kafka runs until it is stopped; test/long/brokers runs it against a broker.
  it.each(importerCommands.filter(({ command }) => !command.includes("consume kafka")))(
    "$page has a command that works as printed: $command",
    async ({ command }) => expect((await runCommand(command)).stderr).not.toMatch(/^\s+at /m),
  )

  it("has no command that neither a test nor CI runs", () => {
    const unknown = commands.filter((one) => !importerCommands.includes(one) && !RUN_ELSEWHERE[one.command])
    expect(unknown).toEqual([])
  })

  it("names a file for each command that runs elsewhere", () => {
    const files = Object.values(RUN_ELSEWHERE).filter((runs) => /^[\w.]+\/\S+$/.test(runs))
    expect(files.filter((path) => !existsSync(join(ROOT, path)))).toEqual([])
  })

  it("shows that a batch sent twice under one key is stored once", async () => {
    const rows = await rig.query(
      "select count(*)::int4 as count from signals where context_window_id = 'conv-125'",
    )
    expect(rows).toEqual([{ count: 1 }])
  })

  it.each(PAGES)("%s names only npm scripts that exist", (page) => {
    const named = [...textOf(page).matchAll(/npm run (?:-s )?([\w:-]+)/g)].map(([, name]) => name)
    expect(Object.keys(scripts ?? {})).toEqual(expect.arrayContaining(named))
  })

  it.each(PAGES)("%s links only to pages and headings that exist", (page) => {
    const links = [...textOf(page).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)/g)]
    const broken = links.filter(([, path = "", heading]) => {
      const target = join(dirname(page), path)
      if (path && !existsSync(join(ROOT, target))) return true
      return heading !== undefined && !headingsOf(path ? target : page).includes(heading)
    })
    expect(broken.map(([link]) => link)).toEqual([])
  })

  it.each(PAGES)("%s names only files and folders that exist", (page) => {
    const missing = pathsOf(page).filter((path) => !existsSync(join(ROOT, path)) && !OF_THE_GUIDE.has(path))
    expect(missing).toEqual([])
  })

  it("has a line for every folder of the code", () => {
    const page = textOf("docs/architecture.md")
    const folders = ["src", "test"].flatMap((parent) =>
      readdirSync(join(ROOT, parent), { withFileTypes: true }).flatMap((entry) =>
        entry.isDirectory() ? [`\`${parent}/${entry.name}/\``] : [],
      ),
    )
    expect(folders.filter((folder) => !page.includes(folder))).toEqual([])
  })

  it("has a line for every dependency", () => {
    const page = textOf("docs/architecture.md")
    const unexplained = Object.keys({ ...dependencies, ...devDependencies }).filter(
      (name) => !name.startsWith("@types/") && !page.includes(`\`${name}\``),
    )
    expect(unexplained).toEqual([])
  })

  it("has a README of at most 150 lines", () =>
    expect(textOf("README.md").split("\n").length).toBeLessThanOrEqual(150))
})

/**
 * The paths below the project's folder that a page names, links to other sites left out. A pattern such as
 * `*.ts` is not a path, and neither is a file of an earlier commit, such as `5938ebf:bench/run.ts`.
 */
const pathsOf = (page: string) =>
  [
    ...textOf(page)
      .replaceAll(/https?:\S+|\b[0-9a-f]{7,40}:\S+/g, "")
      .matchAll(/(?<![\w./-])(?:src|test|bench|scripts|deploy|docs|drizzle|\.ci)\/[\w./-]*[\w/]/g),
  ].map(([path]) => path)

/** Files of the former guide, where a page says what replaces them. */
const OF_THE_GUIDE = new Set(["scripts/slack_to_batch.py", "src/api/signals/models.py"])

/** The anchors of a page's headings, as GitHub makes them. */
const headingsOf = (page: string) =>
  [...textOf(page).matchAll(/^#+ (.+)$/gm)].map(([, title = ""]) =>
    title
      .toLowerCase()
      .replace(/[^\w\s-]/g, "")
      .replaceAll(" ", "-"),
  )
