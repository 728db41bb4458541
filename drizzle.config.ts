import { defineConfig } from "drizzle-kit"

export default defineConfig({
  dialect: "postgresql",
  schema: ["./src/store/database/schema.ts", "./src/store/database/score-tables.ts"],
  out: "./drizzle",
})
