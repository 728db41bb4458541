import { Argument, Command, InvalidArgumentError, Option } from "@commander-js/extra-typings"
import { UsageError } from "../terminal/errors.ts"
import { deadlineOption, type Invocation, KEY_HELP, urlOption } from "../terminal/options.ts"
import type { DlqOptions, DlqState } from "./dlq.ts"

function readId(text: string): number {
  if (!/^\d{1,15}$/.test(text))
    throw new InvalidArgumentError('It must be an id, as "signals dlq list" prints it.')
  return Number(text)
}

const readIds = (text: string, before: readonly number[] = []) => [...before, readId(text)]

const ids = () => new Argument("<id...>", "ids of dead letters").argParser(readIds)

const STATES: readonly DlqState[] = ["waiting", "replayed", "discarded"]

const jsonOption = () => new Option("--json", "print each dead letter as one line of JSON, for scripts")

/** `signals dlq`: lists, shows, replays and discards dead letters. */
export function dlqCommand(invocation: Invocation) {
  const load = () => import("./dlq.ts")
  const run = async (work: Promise<number>) => {
    invocation.exitCode = await work
  }
  const printing = (work: Promise<number>) => {
    invocation.printsResult = true
    return run(work)
  }
  const called = (options: Omit<DlqOptions, "stop">): DlqOptions => ({ ...options, stop: invocation.stop })
  return new Command("dlq")
    .description(
      "Lists, shows, replays and discards dead letters: records that the service accepted and could not store.",
    )
    .addCommand(
      new Command("list")
        .description("list dead letters, newest first")
        .addOption(new Option("--state <state>").choices(STATES).default("waiting"))
        .addOption(jsonOption())
        .addOption(urlOption())
        .addOption(deadlineOption("how long to retry one request"))
        .addHelpText("after", `\n${KEY_HELP} It needs the scope "read".`)
        .action(async ({ state, ...options }) => printing((await load()).list(state, called(options)))),
    )
    .addCommand(
      new Command("show")
        .description("show one dead letter with its record")
        .argument("<id>", "id of a dead letter", readId)
        .addOption(jsonOption())
        .addOption(urlOption())
        .addOption(deadlineOption("how long to retry one request"))
        .addHelpText("after", `\n${KEY_HELP} It needs the scope "read".`)
        .action(async (id, options) => printing((await load()).show(id, called(options)))),
    )
    .addCommand(
      new Command("replay")
        .description("map the records again with the present configuration of the service, and store them")
        .addArgument(ids().argOptional())
        .option("--all", "every waiting dead letter")
        .addOption(jsonOption())
        .addOption(urlOption())
        .addOption(deadlineOption("how long to retry one request"))
        .addHelpText("after", `\n${KEY_HELP} It needs the scopes "read" and "ingest".`)
        .action(async (chosen, { all, ...options }) => {
          const { replay, replayAll } = await load()
          if (all && chosen.length > 0) throw new UsageError("Give ids or --all, not both.")
          if (!all && chosen.length === 0) throw new UsageError("Give the ids of dead letters, or --all.")
          await run(all ? replayAll(called(options)) : replay(chosen, called(options)))
        }),
    )
    .addCommand(
      new Command("discard")
        .description(
          "mark dead letters as discarded: the service keeps them, but no longer lists them as waiting",
        )
        .addArgument(ids())
        .addOption(jsonOption())
        .addOption(urlOption())
        .addOption(deadlineOption("how long to retry one request"))
        .addHelpText("after", `\n${KEY_HELP} It needs the scopes "read" and "ingest".`)
        .action(async (chosen, options) => run((await load()).discard(chosen, called(options)))),
    )
}
