import { Command, InvalidArgumentError, Option } from "@commander-js/extra-typings"
import { deadlineOption, type Invocation, KEY_HELP, quietOption, urlOption } from "../terminal/options.ts"
import { FORMATS } from "./encoder.ts"

const AFTER_HELP = `
${KEY_HELP} It needs the scope "read".

  signals export --format ndjson --gzip --out signals.jsonl.gz
  signals export --format csv --conversation conv-123 --out - | head
  signals export --format parquet --since 2026-01-01 --until 2026-02-01 --out january.parquet`

function readScore(text: string): number {
  const score = Number(text)
  if (text.trim() === "" || !(score >= 0 && score <= 1))
    throw new InvalidArgumentError("It must be a number from 0 to 1.")
  return score
}

/** `signals export`. */
export function exportCommand(invocation: Invocation) {
  return new Command("export")
    .description("Writes stored signals to a file, newest first. The same command continues after a stop.")
    .addOption(new Option("--format <format>", "form of the file").choices(FORMATS).makeOptionMandatory())
    .requiredOption("--out <file>", "the file to write; - is standard output")
    .option("--gzip", "compress ndjson and csv")
    .option("--conversation <id>", "signals of this context_window_id")
    .option("--source <name>", "signals of this signal_source")
    .option("--user <id>", "signals of this user_id")
    .option("--agent <id>", "signals of this agent_id")
    .addOption(new Option("--escalate <flag>", "signals with this escalate_flag").choices(["0", "1"]))
    .addOption(
      new Option("--min-score <score>", "signals with this signal_score or a higher one").argParser(
        readScore,
      ),
    )
    .addOption(
      new Option("--max-score <score>", "signals with this signal_score or a lower one").argParser(readScore),
    )
    .option("--since <time>", "signals at or after this time")
    .option("--until <time>", "signals before this time")
    .option("--contains <text>", "signals whose raw_content contains this text, in any case of letters")
    .option(
      "--payload <path=value...>",
      "signals whose payload has this value at this path, such as order.id=1",
    )
    .option("--force", "replace a file that exists")
    .option("--restart", "discard the saved progress, and start again")
    .addOption(urlOption())
    .addOption(deadlineOption("how long to retry one request"))
    .addOption(quietOption())
    .addHelpText("after", AFTER_HELP)
    .action(async (options) => {
      const { runExportCommand } = await import("./export.ts")
      invocation.exitCode = await runExportCommand(options, invocation)
    })
}
