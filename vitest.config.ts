import { join } from "node:path"
import { cloudflareTest } from "@cloudflare/vitest-plugin"
import { defineConfig } from "vitest/config"
import FolderReporter from "./test/setup/vitest/reporter.ts"

// Many tests start processes of Node. Each would compile the same files again.
process.env.NODE_COMPILE_CACHE ??= join(import.meta.dirname, "node_modules/.cache/node")

const worker = () =>
  cloudflareTest(({ inject }) => ({
    wrangler: { configPath: "./wrangler.toml" },
    miniflare: {
      // Every setting is given here, so that a developer's .dev.vars can't reach the tests.
      bindings: {
        DATABASE_URL: inject("databaseUrl"),
        TEST_DATABASE_OWNER_URL: inject("databaseOwnerUrl"),
        DATABASE_HTTP_ENDPOINT: inject("databaseEndpoint"),
        TEST_RECEIVER: inject("receiver"),
        OPEN_ACCESS: "true",
        API_KEYS: "",
        SUBSCRIPTION_SECRET: "sealed with thirty-two characters".replaceAll(" ", "-"),
        SUBSCRIPTION_LOCAL_RECEIVERS: "true",
        MAX_SIGNALS: "10000",
        MAX_BODY_BYTES: "8388608",
        DATABASE_DEADLINE_MS: "10000",
        // The tests send more at once than an isolate lets through; faults/overload.test.ts holds the
        // limit.
        DATABASE_MAX_WRITES: "100",
        DATABASE_MAX_READS: "100",
        DATABASE_MAX_CONSUMER: "100",
      },
      // The tests send more in ten seconds than a caller should.
      ratelimits: {
        RATE_LIMITER: { namespace_id: "1001", simple: { limit: 1_000_000, period: 10 } },
        ADDRESS_RATE_LIMITER: { namespace_id: "1002", simple: { limit: 1_000_000, period: 10 } },
      },
    },
  }))

/** Folders whose tests call functions and classes, and keep nothing. */
const PURE = "test/worker/{bridges,isolate,keys,signals}/**/*.test.ts"

export default defineConfig({
  test: {
    // Most files wait for a database, a broker or a browser, so that three share two cores well.
    maxWorkers: 3,
    globalSetup: ["./test/setup/vitest/services.ts"],
    reporters: [new FolderReporter()],
    slowTestThreshold: 5000,
    // The Worker logs a line a request; only those of a failed test are worth reading.
    silent: "passed-only",
    // Tests wait for events. These limits only end what hangs, also on a machine with twenty times its load.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 90_000 } },
    projects: [
      {
        extends: true,
        plugins: [worker()],
        test: { name: "worker", include: ["test/worker/**/*.test.ts"], exclude: [PURE] },
      },
      {
        extends: true,
        plugins: [worker()],
        // One isolate for many files: a workerd for each file would take three times as long.
        test: { name: "pure", include: [PURE], isolate: false },
      },
      { extends: true, test: { name: "node", include: ["test/node/**/*.test.ts"] } },
      { extends: true, test: { name: "long", include: ["test/long/**/*.test.ts"] } },
    ],
  },
})
