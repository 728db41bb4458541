import { CommanderError } from "@commander-js/extra-typings"
import { createProgram, namedCommand, pathOf } from "./program.ts"
import { asUsageError, EXIT, isExpected, reasonOf, UsageError, usageSentence } from "./terminal/errors.ts"
import type { Invocation } from "./terminal/options.ts"

/** After a stop, the time until calls in flight are given up, and until the process ends in any case. */
const END_AFTER_MS = 5000
const EXIT_AFTER_MS = 8000
/** After a command has ended, the time for its last output. */
const LEAVE_AFTER_MS = 1000

const SIGNALS = { SIGINT: EXIT.stopped, SIGTERM: EXIT.terminated } as const

/**
 * Runs one command line in this process, and sets its exit code. This is the one place where an error becomes
 * a sentence and a code, for every command.
 */
export async function runCommandLine(args: readonly string[]): Promise<void> {
  const stopped = { code: EXIT.stopped as number }
  const invocation = { ...listenForStop(stopped), exitCode: EXIT.done, printsResult: false }
  guardOutput(invocation)
  const code = await exitCodeOf(args, invocation)
  process.exitCode = code === EXIT.stopped ? stopped.code : code
  // What the command left open, such as a pipe that it no longer reads, must not keep the process running.
  setTimeout(() => process.exit(), LEAVE_AFTER_MS).unref()
}

/** The first Ctrl-C or SIGTERM lets the work in flight finish for some seconds, the second ends at once. */
function listenForStop(stopped: { code: number }): Pick<Invocation, "stop" | "end"> {
  const stop = new AbortController()
  const end = new AbortController()
  for (const [name, code] of Object.entries(SIGNALS))
    process.on(name, () => {
      if (stop.signal.aborted) process.exit(code)
      stopped.code = code
      setTimeout(() => end.abort(), END_AFTER_MS).unref()
      setTimeout(() => process.exit(code), EXIT_AFTER_MS).unref()
      if (process.stderr.isTTY) process.stderr.write("\nStopping. Press Ctrl-C again to stop at once.\n")
      stop.abort()
    })
  return { stop: stop.signal, end: end.signal }
}

/**
 * A reader that closes the pipe, such as `head`, ends a listing, and changes nothing else: an import goes on,
 * and its exit code says what was stored. A full disk does the same; a sentence on standard error names it.
 */
function guardOutput(invocation: Invocation): void {
  let isTold = false
  process.stderr.on("error", () => {})
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") {
      if (invocation.printsResult) process.exit(EXIT.done)
      return
    }
    if (invocation.printsResult) {
      console.error(`Gave up: standard output: ${reasonOf(error)}`)
      process.exit(EXIT.gaveUp)
    }
    if (!isTold) console.error(`Continues without standard output: ${reasonOf(error)}`)
    isTold = true
  })
}

async function exitCodeOf(args: readonly string[], invocation: Invocation): Promise<number> {
  const program = createProgram(invocation)
  try {
    // `parseJson` needs the source text of numbers, which Node has from version 22.
    if (!("rawJSON" in JSON))
      throw new UsageError(`This command line needs Node 22 or newer, and this is Node ${process.version}.`)
    await program.parseAsync(args, { from: "user" })
    return invocation.exitCode
  } catch (thrown) {
    const error = asUsageError(thrown)
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.done
    const path = pathOf(namedCommand(program, args))
    // Commander has already printed the help of a command that needs a subcommand.
    if (error instanceof CommanderError && error.code === "commander.help") return EXIT.usage
    if (error instanceof CommanderError) {
      console.error(usageSentence(error.message, path))
      return EXIT.usage
    }
    // Our own messages quote paths and commands, so they are not rewritten.
    if (error instanceof UsageError) {
      console.error(`${error.message} Run "${path} --help" for its options.`)
      return EXIT.usage
    }
    if (invocation.stop.aborted) return EXIT.stopped
    if (isExpected(error)) console.error(`Gave up: ${reasonOf(error)}`)
    else console.error("Gave up: this is an error of the command line itself.", error)
    return EXIT.gaveUp
  }
}
