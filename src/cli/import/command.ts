import { Command } from "@commander-js/extra-typings"
import {
  batchSizeOption,
  collectPairs,
  concurrencyOption,
  deadlineOption,
  type Invocation,
  KEY_HELP,
  quietOption,
  urlOption,
} from "../options.ts"
import type { SourceRequest } from "../sources/open.ts"
import type { ImportOptions } from "./import.ts"

const csv = () =>
  new Command("csv")
    .description("rows of a CSV file, .gz as well; - is standard input")
    .argument("<file>")
    .option("--map <COLUMN=FIELD>", "the column of a signal's field; repeatable", collectPairs)
    .option("--delimiter <character>", "between two cells", ",")

const jsonl = () =>
  new Command("jsonl").description("signals, one JSON object a line, .gz as well; - is standard input").argument("<file>")

const slack = () =>
  new Command("slack")
    .description("a Slack export (ZIP or folder), slackdump's JSON or JSONL, or messages.jsonl")
    .argument("<path>")
    .option("--team <id>", "the team of messages that name none")

const sql = () =>
  new Command("sql")
    .description("rows of a query on Postgres")
    .requiredOption("--from <url>", "the database, postgres://user:password@host/name")
    .requiredOption("--query <sql>", "the query; with ORDER BY an import of an unchanged table can continue after a stop")
    .option("--map <COLUMN=FIELD>", "the column of a signal's field; repeatable", collectPairs)

/** The options of every command that sends a source. */
const sending = <Args extends unknown[], Options extends Record<string, unknown>>(command: Command<Args, Options>) =>
  command
    .option("--dry-run", "print what would be sent, and send nothing")
    .option("-o, --output <file>", "write batches for curl, and send nothing")
    .addOption(urlOption())
    .addOption(batchSizeOption())
    .addOption(concurrencyOption())
    .addOption(deadlineOption())
    .option("--state <file>", "where the progress is saved (default: a file of this source and service in .signals)")
    .option("--failures <file>", "where signals that were not stored go, with the reason (default: beside the state)")
    .option("--restart", "forget the saved progress, and begin anew")
    .addOption(quietOption())
    .addHelpText("after", `\n${KEY_HELP}`)

const checking = <Args extends unknown[], Options extends Record<string, unknown>>(command: Command<Args, Options>) =>
  command
    .addOption(urlOption())
    .option("--since <time>", "count signals of the service from this time on", "0001-01-01T00:00:00Z")
    .addHelpText("after", `\n${KEY_HELP}`)

/** `signals import KIND`. */
export function importCommand(invocation: Invocation) {
  const run = async (request: SourceRequest, options: ImportOptions) => {
    const { runImportCommand } = await import("./import.ts")
    invocation.exitCode = await runImportCommand(request, options, invocation.stop)
  }
  return new Command("import")
    .description("Imports a source: every record once, however often the command is stopped and run again.")
    .addCommand(sending(slack()).action((path, options) => run({ kind: "slack", path, ...options }, options)))
    .addCommand(sending(sql()).action((options) => run({ kind: "sql", ...options }, options)))
    .addCommand(sending(jsonl()).action((path, options) => run({ kind: "jsonl", path }, options)))
    .addCommand(sending(csv()).action((path, options) => run({ kind: "csv", path, ...options }, options)))
}

/** `signals verify KIND`. */
export function verifyCommand(invocation: Invocation) {
  const run = async (request: SourceRequest, options: { url: string; since: string }) => {
    const { runVerifyCommand } = await import("./verify.ts")
    invocation.exitCode = await runVerifyCommand(request, options)
  }
  return new Command("verify")
    .description("Compares a source with the service: the number of signals and the mean score of each conversation.")
    .addCommand(checking(slack()).action((path, options) => run({ kind: "slack", path, ...options }, options)))
    .addCommand(checking(sql()).action((options) => run({ kind: "sql", ...options }, options)))
    .addCommand(checking(jsonl()).action((path, options) => run({ kind: "jsonl", path }, options)))
    .addCommand(checking(csv()).action((path, options) => run({ kind: "csv", path, ...options }, options)))
}
