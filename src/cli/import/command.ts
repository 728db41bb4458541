import { Command } from "@commander-js/extra-typings"
import type { ScoresRequest, SourceRequest } from "../sources/open.ts"
import {
  batchSizeOption,
  collectPairs,
  concurrencyOption,
  deadlineOption,
  type Invocation,
  KEY_HELP,
  quietOption,
  urlOption,
} from "../terminal/options.ts"
import type { ImportOptions } from "./import.ts"
import type { VerifyOptions } from "./verify.ts"

const csv = () =>
  new Command("csv")
    .description("rows of a CSV file with a header; gzip is unpacked, - reads standard input")
    .argument("<file>")
    .option("--map <COLUMN=FIELD>", "store COLUMN in FIELD of the signal; repeatable", collectPairs)
    .option("--delimiter <character>", "separator of cells; \\t is a tab", ",")

const jsonl = () =>
  new Command("jsonl")
    .description("signals, one JSON object on each line; gzip is unpacked, - reads standard input")
    .argument("<file>")

const parquet = () =>
  new Command("parquet")
    .description("rows of a Parquet file, such as an export")
    .argument("<file>")
    .option("--map <COLUMN=FIELD>", "store COLUMN in FIELD of the signal; repeatable", collectPairs)

const slack = () =>
  new Command("slack")
    .description(
      "a Slack history: an export (ZIP or folder); slackdump's archive folder, SQLite database or dump; or JSON, one message on each line",
    )
    .argument("<path>")
    .option("--team <id>", "the workspace of messages that do not name one")
    .option("--follow-edits", "also send edits and deletions; the service needs SLACK_FOLLOW_EDITS=true")

const sql = () =>
  new Command("sql")
    .description("rows of a query on Postgres")
    .requiredOption("--from <url>", "address of the database, postgres://user:password@host/name")
    .requiredOption("--query <sql>", "the query; it needs ORDER BY if the import is to continue after a stop")
    .option("--map <COLUMN=FIELD>", "store COLUMN in FIELD of the signal; repeatable", collectPairs)

/** Adds the options of each command that sends a source. */
const sending = <Args extends unknown[], Options extends Record<string, unknown>>(
  command: Command<Args, Options>,
) =>
  command
    .option("--dry-run", "print the signals, and send nothing")
    .option("-o, --output <file>", "write batches for curl, and send nothing")
    .addOption(urlOption())
    .addOption(batchSizeOption())
    .addOption(concurrencyOption())
    .addOption(deadlineOption())
    .option(
      "--state <file>",
      "file of the saved progress (default: in .signals, one for each source and service)",
    )
    .option(
      "--failures <file>",
      "file of the records that were not stored, with the reasons (default: beside the state)",
    )
    .option("--restart", "discard the saved progress, and start again")
    .addOption(quietOption())
    .addHelpText("after", `\n${KEY_HELP}`)

/** Adds the options of each command that compares a source with the service. */
const checking = <Args extends unknown[], Options extends Record<string, unknown>>(
  command: Command<Args, Options>,
) =>
  command
    .addOption(urlOption())
    .addOption(deadlineOption("how long to retry one request"))
    .option("--since <time>", "compare with the service's signals from this time on", "0001-01-01T00:00:00Z")
    .addHelpText("after", `\n${KEY_HELP}`)

/** `signals import scores KIND`. */
function scoresCommand(run: (request: ScoresRequest, options: ImportOptions) => Promise<void>) {
  return new Command("scores")
    .description("Imports scores of signals that are stored already. Each has its own scored_at.")
    .addCommand(sending(sql()).action((options) => run({ kind: "sql", ...options }, options)))
    .addCommand(sending(jsonl()).action((path, options) => run({ kind: "jsonl", path }, options)))
    .addCommand(sending(csv()).action((path, options) => run({ kind: "csv", path, ...options }, options)))
}

/** `signals import KIND`. */
export function importCommand(invocation: Invocation) {
  const run = async (request: SourceRequest, options: ImportOptions) => {
    const { runImportCommand } = await import("./import.ts")
    invocation.exitCode = await runImportCommand(request, options, invocation)
  }
  const runScores = async (request: ScoresRequest, options: ImportOptions) => {
    const { runImportCommand } = await import("./import.ts")
    invocation.exitCode = await runImportCommand(request, options, invocation, "scores")
  }
  return new Command("import")
    .description(
      "Imports a source. Each record is stored once, even when the command is stopped and run again.",
    )
    .addCommand(sending(slack()).action((path, options) => run({ kind: "slack", path, ...options }, options)))
    .addCommand(sending(sql()).action((options) => run({ kind: "sql", ...options }, options)))
    .addCommand(sending(jsonl()).action((path, options) => run({ kind: "jsonl", path }, options)))
    .addCommand(sending(csv()).action((path, options) => run({ kind: "csv", path, ...options }, options)))
    .addCommand(
      sending(parquet()).action((path, options) => run({ kind: "parquet", path, ...options }, options)),
    )
    .addCommand(scoresCommand(runScores))
}

/** `signals verify KIND`. */
export function verifyCommand(invocation: Invocation) {
  const run = async (request: SourceRequest, options: VerifyOptions) => {
    const { runVerifyCommand } = await import("./verify.ts")
    invocation.exitCode = await runVerifyCommand(request, options, invocation.stop)
  }
  return new Command("verify")
    .description(
      "Compares a source with the service: the number of signals and the mean score of each conversation.",
    )
    .addCommand(
      checking(slack()).action((path, options) => run({ kind: "slack", path, ...options }, options)),
    )
    .addCommand(checking(sql()).action((options) => run({ kind: "sql", ...options }, options)))
    .addCommand(checking(jsonl()).action((path, options) => run({ kind: "jsonl", path }, options)))
    .addCommand(checking(csv()).action((path, options) => run({ kind: "csv", path, ...options }, options)))
    .addCommand(
      checking(parquet()).action((path, options) => run({ kind: "parquet", path, ...options }, options)),
    )
}
