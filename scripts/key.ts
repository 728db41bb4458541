import { runCommandLine } from "../src/cli/run.ts"

/** `npm run key`: the same as `signals key`. */
await runCommandLine(["key", ...process.argv.slice(2)])
