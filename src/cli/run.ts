import { CommanderError } from "@commander-js/extra-typings"
import type { Invocation } from "./options.ts"
import { createProgram, namedCommand, pathOf } from "./program.ts"
import { SourceError } from "./sources/source.ts"
import { EXIT, UsageError, usageSentence } from "./usage.ts"

/** Runs one command line in this process, and sets its exit code. */
export async function runCommandLine(args: readonly string[]): Promise<void> {
  // A reader that closes the pipe, such as `head`, is not an error.
  process.stdout.on("error", (error: NodeJS.ErrnoException) =>
    process.exit(error.code === "EPIPE" ? EXIT.done : EXIT.gaveUp),
  )
  process.exitCode = await exitCodeOf(args)
}

async function exitCodeOf(args: readonly string[]): Promise<number> {
  const stop = new AbortController()
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.on(signal, () => {
      // The first signal lets the work in flight finish, the second ends at once.
      if (stop.signal.aborted) process.exit(EXIT.stopped)
      stop.abort()
      if (process.stderr.isTTY) process.stderr.write("\nStopping. Press Ctrl-C again to stop at once.\n")
    })
  const invocation: Invocation = { stop: stop.signal, exitCode: EXIT.done }
  const program = createProgram(invocation)
  try {
    // `parseJson` needs the source text of numbers, which Node has from version 22.
    if (!("rawJSON" in JSON))
      throw new UsageError(`This command line needs Node 22 or newer, and this is Node ${process.version}.`)
    await program.parseAsync(args, { from: "user" })
    return invocation.exitCode
  } catch (error) {
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
    if (error instanceof SourceError) {
      console.error(`Gave up: ${error.message}`)
      return EXIT.gaveUp
    }
    // A system error, such as a full disk: Node's message names the file.
    if (error instanceof Error && "syscall" in error) {
      console.error(`Gave up: ${error.message}`)
      return EXIT.gaveUp
    }
    throw error
  }
}
