import { createWriteStream, mkdirSync, type WriteStream } from "node:fs"
import { join } from "node:path"
import { styleText } from "node:util"
import { DefaultReporter, type TestModule, type TestSpecification, type Vitest } from "vitest/node"

/** A run of at most this many files prints a line for each. */
const FEW_FILES = 20

/** The beginning of what workerd says about exceptions, each with a stack of many addresses. */
const WORKERD_NOISE = /^(?:\S+:\d+: \w+: )?(?:uncaught exception;|exception = )/

/** The files of a folder that have ended. */
interface Folder {
  files: number
  failed: number
  tests: number
  skipped: number
  ms: number
  /** Files that have not ended yet. */
  left: number
}

/**
 * Prints a line for each folder of tests, and everything about a file that fails, so that a run fits a page.
 * Exceptions that tests provoke in workerd go to `test-results/workerd.log`.
 */
export default class FolderReporter extends DefaultReporter {
  #folders = new Map<string, Folder>()
  #fewFiles = true
  #noise: { path: string; file: WriteStream; messages: number } | undefined

  override onInit(vitest: Vitest): void {
    super.onInit(vitest)
    this.#divertNoise(join(vitest.config.root, "test-results"))
  }

  override onTestRunStart(specifications: readonly TestSpecification[]): void {
    super.onTestRunStart(specifications)
    this.#folders.clear()
    this.#fewFiles = specifications.length <= FEW_FILES
    for (const { moduleId } of specifications) this.#folder(moduleId).left++
  }

  override printTestModule(module: TestModule): void {
    const state = module.state()
    if (state === "queued" || state === "pending") return
    const folder = this.#folder(module.moduleId)
    const tests = [...module.children.allTests()]
    folder.files++
    folder.tests += tests.length
    folder.skipped += tests.filter((test) => test.result().state === "skipped").length
    folder.ms += module.diagnostic().duration
    folder.left--
    if (state === "failed") folder.failed++
    if (this.#fewFiles || state === "failed") super.printTestModule(module)
    if (!this.#fewFiles && folder.left === 0)
      this.log(lineOf(folderOf(this.relative(module.moduleId)), folder))
  }

  override onTestRunEnd(...end: Parameters<DefaultReporter["onTestRunEnd"]>): void {
    super.onTestRunEnd(...end)
    if (this.#noise && this.#noise.messages > 0)
      this.log(`  Exceptions of workerd, also expected ones: ${this.relative(this.#noise.path)}\n`)
  }

  #folder(moduleId: string): Folder {
    const name = folderOf(this.relative(moduleId))
    const known = this.#folders.get(name) ?? { files: 0, failed: 0, tests: 0, skipped: 0, ms: 0, left: 0 }
    this.#folders.set(name, known)
    return known
  }

  /**
   * The plugin for workerd writes each message at once and whole to this process' output, without a choice.
   */
  #divertNoise(parent: string): void {
    mkdirSync(parent, { recursive: true })
    const path = join(parent, "workerd.log")
    const noise = { path, file: createWriteStream(path), messages: 0 }
    this.#noise = noise
    for (const stream of [process.stdout, process.stderr]) {
      const write = stream.write.bind(stream)
      stream.write = (chunk: string | Uint8Array, ...rest: never[]) => {
        if (typeof chunk !== "string" || !WORKERD_NOISE.test(chunk)) return write(chunk, ...rest)
        noise.messages++
        return noise.file.write(chunk)
      }
    }
  }
}

/** `test/worker/http` for `test/worker/http/body/budget.test.ts`. */
const folderOf = (path: string) => path.split("/").slice(0, -1).slice(0, 3).join("/")

function lineOf(name: string, { files, failed, tests, skipped, ms }: Folder): string {
  const mark = failed > 0 ? styleText("red", "×") : styleText("green", "✓")
  const counts = [`${tests} tests in ${files} files`, `${(ms / 1000).toFixed(0)} s`]
  if (skipped > 0) counts.push(`${skipped} skipped`)
  if (failed > 0) counts.push(`${failed} files failed`)
  return ` ${mark} ${name.padEnd(24)} ${counts.join(", ")}`
}
