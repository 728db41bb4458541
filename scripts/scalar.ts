import plugin from "@scalar/fastify-api-reference"

/** The part of a Fastify route that this script uses. */
interface Route {
  url: string
  handler(request: undefined, reply: { header(): unknown; send(body: string): string }): string
}

/**
 * Scalar's API reference as one script without dependencies.
 *
 * Scalar's plugin for Fastify contains the script and brings 13 packages; the package made for it brings 268.
 * The plugin registers its routes as in Fastify, and the route that serves the script answers.
 */
export function scalarScript(): string {
  const routes: Route[] = []
  const fastify = { route: (route: Route) => routes.push(route) }
  const register = plugin as unknown as (to: typeof fastify, options: object, done: () => void) => void
  register(fastify, { configuration: { url: "/openapi.json" } }, () => {})
  const script = routes.find(({ url }) => url.endsWith("/scalar.js"))
  if (!script) throw new Error("@scalar/fastify-api-reference has no route for scalar.js any more")
  const reply = { header: () => reply, send: (body: string) => body }
  return script.handler(undefined, reply).replace(/\n\/\/# sourceMappingURL=.*\s*$/, "")
}
