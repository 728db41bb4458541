import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { basename, join, relative } from "node:path"
import { build } from "esbuild"
import { scalarScript } from "./scalar.ts"

const ROOT = join(import.meta.dirname, "..")
const TARGET = join(ROOT, "dist/assets")

interface Page {
  /** Its path; Cloudflare serves `/docs` from `docs.html`. */
  path: string
  html: string
  /**
   * Scripts and style sheets by their served name without extension. Two files of one name differ in their
   * extension.
   */
  bundles: [name: string, source: string][]
  contentSecurityPolicy: Record<string, string>
}

/** Allows only files of this origin, no frames, and no forms or base that lead to other sites. */
const STRICT = {
  "default-src": "'none'",
  "script-src": "'self'",
  "style-src": "'self'",
  "connect-src": "'self'",
  "img-src": "'self' data:",
  "frame-ancestors": "'none'",
  "base-uri": "'none'",
  "form-action": "'none'",
}

const PAGES: Page[] = [
  {
    path: "/",
    html: "src/pages/dashboard/index.html",
    bundles: [
      ["dashboard", "src/pages/dashboard/main.ts"],
      ["dashboard", "src/pages/dashboard/style.css"],
    ],
    contentSecurityPolicy: STRICT,
  },
  {
    path: "/docs",
    html: "src/pages/reference/index.html",
    bundles: [
      ["docs", "src/pages/reference/main.ts"],
      ["docs", "src/pages/reference/style.css"],
    ],
    // Scalar's script adds its style sheet to the page.
    contentSecurityPolicy: { ...STRICT, "style-src": "'self' 'unsafe-inline'" },
  },
]

/** Files that every page uses, copied without change. */
const COMMON = ["src/pages/dashboard/favicon.svg"]

/**
 * The headers in the syntax of Cloudflare's static assets:
 * https://developers.cloudflare.com/workers/static-assets/headers/
 */
function headersFile(): string {
  const policy = (page: Page) =>
    Object.entries(page.contentSecurityPolicy)
      .map(([directive, sources]) => `${directive} ${sources}`)
      .join("; ")
  return [
    "/*\n  X-Content-Type-Options: nosniff\n  Referrer-Policy: no-referrer\n  Cross-Origin-Opener-Policy: same-origin\n  Strict-Transport-Security: max-age=15552000; includeSubDomains",
    ...PAGES.map((page) => `${page.path}\n  Content-Security-Policy: ${policy(page)}`),
    "",
  ].join("\n\n")
}

const htmlName = ({ path }: Page) => (path === "/" ? "index.html" : `${path.slice(1)}.html`)

/** Builds the OpenAPI document. It is built here, so that the Worker does not contain its code. */
async function openApi(): Promise<object> {
  // A variable, so that the compiler does not check the Worker's code against Node's types.
  const source: string = "../src/openapi/document.ts"
  return ((await import(source)) as { openApi(): object }).openApi()
}

/** What the dashboard says of each code: of signals' failures and of requests'. */
async function codes(): Promise<object> {
  const source: string = "../src/signals/failures.ts"
  const { FAILURE_CODES: signals, PROBLEM_CODES: requests } = await import(source)
  return { signals, requests }
}

/** All files to serve, by name. */
async function bundle(): Promise<Map<string, Uint8Array>> {
  const { outputFiles } = await build({
    absWorkingDir: ROOT,
    entryPoints: PAGES.flatMap(({ bundles }) => bundles.map(([out, source]) => ({ in: source, out }))),
    outdir: TARGET,
    bundle: true,
    minify: true,
    format: "esm",
    target: ["chrome123", "firefox120", "safari17.5"],
    logLevel: "warning",
    write: false,
  })
  const files = new Map(outputFiles.map(({ path, contents }) => [relative(TARGET, path), contents]))
  for (const page of PAGES) files.set(htmlName(page), await readFile(join(ROOT, page.html)))
  files.set("scalar.js", Buffer.from(scalarScript()))
  files.set("openapi.json", Buffer.from(JSON.stringify(await openApi())))
  files.set("codes.json", Buffer.from(JSON.stringify(await codes())))
  for (const file of COMMON) files.set(basename(file), await readFile(join(ROOT, file)))
  return files.set("_headers", Buffer.from(headersFile()))
}

/** Writes only files that have changed: a running service may serve this folder. */
async function publish(files: Map<string, Uint8Array>): Promise<void> {
  await mkdir(TARGET, { recursive: true })
  for (const name of await readdir(TARGET))
    if (!files.has(name)) await rm(join(TARGET, name), { recursive: true })
  for (const [name, contents] of files) {
    const path = join(TARGET, name)
    const old = await readFile(path).catch(() => undefined)
    if (!old?.equals(contents)) await writeFile(path, contents)
  }
}

await publish(await bundle())
