import { cloudflareTest } from "@cloudflare/vitest-plugin"
import { defineConfig } from "vitest/config"

/** Tests of what runs in Node: the local stack, and the service driven from outside. Everything else runs inside workerd. */
const NODE_TESTS = ["test/local/**/*.test.ts", "test/faults/**/*.test.ts"]

export default defineConfig({
  test: {
    projects: [
      {
        plugins: [cloudflareTest({ wrangler: { configPath: "./wrangler.toml" } })],
        test: { name: "worker", include: ["test/**/*.test.ts"], exclude: NODE_TESTS },
      },
      { test: { name: "node", include: NODE_TESTS } },
    ],
  },
})
