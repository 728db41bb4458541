/** Loaded into wrangler's processes by `--import`: they end when the process that started them has ended without a word. */
process.on("disconnect", () => process.kill(process.pid, "SIGINT"))
