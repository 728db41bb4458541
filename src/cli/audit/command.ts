import { Command, InvalidArgumentError, Option } from "@commander-js/extra-typings"
import {
  deadlineOption,
  type Invocation,
  KEY_HELP,
  quietOption,
  urlOption,
  wholeNumber,
} from "../terminal/options.ts"

function readCursor(text: string): string {
  if (!/^\w+:[\w-]{1,40}$/.test(text))
    throw new InvalidArgumentError("It must be a cursor that this command printed.")
  return text
}

const AFTER_HELP = `
${KEY_HELP} It needs the scope "admin". The exit code is 1 when something differs.

  signals audit
  signals audit --after batches:0190a1b2-0000-7000-8000-000000000000`

/** `signals audit`: compares the ledger with the signals and the dedupe keys. */
export function auditCommand(invocation: Invocation) {
  return new Command("audit")
    .description("Compares the ledger of the service with its signals and dedupe keys, page by page.")
    .addOption(new Option("--after <cursor>", "continue an audit that was stopped").argParser(readCursor))
    .addOption(new Option("--page <n>", "rows of a page").default(1000).argParser(wholeNumber(1, 1000)))
    .option("--json", "print each mismatch as one line of JSON, for scripts")
    .addOption(urlOption())
    .addOption(deadlineOption("how long to retry one request"))
    .addOption(quietOption())
    .addHelpText("after", AFTER_HELP)
    .action(async (options) => {
      const { audit } = await import("./audit.ts")
      invocation.exitCode = await audit(options, invocation.stop)
    })
}
