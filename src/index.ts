import { app } from "./app.ts"
import type { Bindings } from "./bindings.ts"
import { consume } from "./consumer/consume.ts"
import { runScheduled } from "./consumer/scheduled.ts"

export default {
  fetch: app.fetch,
  scheduled: (event, bindings) => runScheduled(bindings, new Date(event.scheduledTime)),
  queue: (batch, bindings) => consume(batch, bindings),
} satisfies ExportedHandler<Bindings>
