import { WorkerEntrypoint } from "cloudflare:workers"

/** Where points go, and with which token: set by `npm start`. */
interface Bindings {
  POINTS_URL: string
  POINTS_TOKEN: string
}

/**
 * Bound to the service under `npm start` in place of an Analytics Engine dataset, whose writes go nowhere locally.
 *
 * The service calls it as it calls the dataset, so that its code is the same in both.
 */
export class Dataset extends WorkerEntrypoint<Bindings, { dataset: string }> {
  /** Never fails, as the dataset never does: a point that can't be kept is gone. */
  writeDataPoint(point?: AnalyticsEngineDataPoint): void {
    const { env, ctx } = this
    const sent = fetch(env.POINTS_URL, {
      method: "POST",
      headers: { Authorization: `Bearer ${env.POINTS_TOKEN}` },
      body: JSON.stringify({ dataset: ctx.props.dataset, point: point ?? {} }),
    })
    // The answer is read to its end, so that its connection can be used again.
    ctx.waitUntil(sent.then((response) => response.text()).catch(() => {}))
  }
}

/** A Worker that is run on its own has to answer something. */
export default { fetch: () => new Response(null, { status: 404 }) }
