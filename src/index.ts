import { app } from "./app.ts"
import type { Bindings } from "./bindings.ts"
import { consume } from "./consumer/consume.ts"
import { consumeWakes, EVERY_MINUTE, isDeliveries, runEveryMinute } from "./consumer/deliveries.ts"
import { runScheduled } from "./consumer/scheduled.ts"
import { letIn } from "./http/body/entrance.ts"

export default {
  fetch: (request, bindings, context) =>
    letIn(request, bindings, () => app.fetch(request, bindings, context)),
  scheduled: (event, bindings) =>
    event.cron === EVERY_MINUTE
      ? runEveryMinute(bindings)
      : runScheduled(bindings, new Date(event.scheduledTime)),
  queue: (batch, bindings) =>
    isDeliveries(batch) ? consumeWakes(batch, bindings) : consume(batch, bindings),
} satisfies ExportedHandler<Bindings>
