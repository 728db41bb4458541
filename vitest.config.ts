import { cloudflareTest } from "@cloudflare/vitest-plugin"
import { defineConfig } from "vitest/config"

/** Tests of what runs in Node: the local stack, and the service driven from outside. Everything else runs inside workerd. */
const NODE_TESTS = [
  "test/local/**/*.test.ts",
  "test/faults/**/*.test.ts",
  "test/contract/**/*.test.ts",
  "test/deploy/**/*.test.ts",
  "test/pages/**/*.test.ts",
  "test/cli/**/*.test.ts",
  "test/client/**/*.test.ts",
  "test/package/**/*.test.ts",
  "test/e2e/**/*.test.ts",
]

export default defineConfig({
  test: {
    globalSetup: ["./test/setup/services.ts"],
    // The Worker logs a line a request; only those of a failed test are worth reading.
    silent: "passed-only",
    // The first request of a file loads the whole Worker into a new isolate, on a machine that may be busy.
    testTimeout: 60_000,
    // An event that is waited for may take its time there, too.
    expect: { poll: { timeout: 20_000 } },
    projects: [
      {
        extends: true,
        plugins: [
          cloudflareTest(({ inject }) => ({
            wrangler: { configPath: "./wrangler.toml" },
            miniflare: {
              // Every setting is given here, so that a developer's .dev.vars can't reach the tests.
              bindings: {
                DATABASE_URL: inject("databaseUrl"),
                DATABASE_HTTP_ENDPOINT: inject("databaseEndpoint"),
                OPEN_ACCESS: "true",
                API_KEYS: "",
                MAX_SIGNALS: "10000",
                MAX_BODY_BYTES: "8388608",
                DATABASE_DEADLINE_MS: "10000",
              },
              // The tests send more in ten seconds than a caller should.
              ratelimits: { RATE_LIMITER: { namespace_id: "1001", simple: { limit: 1_000_000, period: 10 } } },
            },
          })),
        ],
        test: { name: "worker", include: ["test/**/*.test.ts"], exclude: NODE_TESTS },
      },
      { extends: true, test: { name: "node", include: NODE_TESTS } },
    ],
  },
})
