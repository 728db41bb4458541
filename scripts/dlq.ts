import { runCommandLine } from "../src/cli/run.ts"

/** `npm run dlq`: the same as `signals dlq`. */
await runCommandLine(["dlq", ...process.argv.slice(2)])
