/**
 * Another service with the same two routes, the same table and the same answers: each signal's id, in order.
 */
export interface Peer {
  /** Its folder beside this file, which holds its source and its pinned manifest. */
  name: string
  what: string
  /** Commands that install it, in a copy of its folder. */
  install: readonly (readonly string[])[]
  /**
   * Starts it there, with `PORT` and `DATABASE_URL` in the environment. Every peer opens at most ten
   * connections.
   */
  start(port: string): readonly string[]
}

const NPM_INSTALL = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"] as const

const python = (name: string, what: string): Peer => ({
  name,
  what,
  install: [
    ["python3", "-m", "venv", "venv"],
    [
      "venv/bin/python",
      "-m",
      "pip",
      "install",
      "--quiet",
      "--disable-pip-version-check",
      "-r",
      "requirements.txt",
    ],
  ],
  start: (port) => [
    "venv/bin/python",
    "-m",
    "uvicorn",
    "main:app",
    "--port",
    port,
    "--log-level",
    "warning",
    "--no-access-log",
  ],
})

const node = (name: string, what: string, more: Peer["install"] = []): Peer => ({
  name,
  what,
  install: [NPM_INSTALL, ...more],
  start: () => [process.execPath, "server.mjs"],
})

export const PEERS: readonly Peer[] = [
  python("guide", "FastAPI, SQLAlchemy's ORM, a flush a signal"),
  python("asyncpg", "FastAPI, asyncpg, one unnest"),
  node("fastify", "Fastify, pg, one unnest"),
  node("hono-drizzle", "Hono on Node, zod, drizzle's values"),
  node("prisma", "Fastify, Prisma's createManyAndReturn", [
    ["npx", "prisma", "generate", "--schema", "schema.prisma"],
  ]),
  {
    name: "go",
    what: "net/http, pgx, one unnest",
    install: [["go", "build", "-o", "server", "."]],
    start: () => ["./server"],
  },
]
