import { describe, expect, it } from "vitest"
import { app } from "../../src/app.ts"
import { openApi } from "../../src/http/openapi.ts"
import { BatchRequest, Signal } from "../../src/signals/schema.ts"
import { send } from "../service.ts"

describe("the OpenAPI document", () => {
  it("is served as OpenAPI 3.1", async () => {
    const response = await send("/openapi.json")
    expect(response.status).toBe(200)
    expect(await response.json()).toMatchObject({ openapi: "3.1.1", info: { title: "signal-ingest" } })
  })

  it("has every route of the app, and no other", () => {
    const routes = app.routes
      .filter(({ method }) => method !== "ALL")
      .map(({ method, path }) => `${method} ${path.replace(/:(\w+)(\{[^/]*\})?/g, "{$1}")}`)
    const described = Object.entries(openApi().paths ?? {}).flatMap(([path, item]) =>
      Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`),
    )
    expect(new Set(described)).toEqual(new Set(routes))
  })

  it("has the fields of a signal from the schema that judges them", () => {
    const described = openApi().components?.schemas?.Signal as { properties: object; required: string[] }
    expect(Object.keys(described.properties)).toEqual(Object.keys(Signal.shape))
    expect(described.required).toEqual(["context_window_id"])
  })

  it("has examples that the service would take", () => {
    const exampleOf = (path: string) => {
      const body = openApi().paths?.[path]?.post?.requestBody
      const content = body && "content" in body ? body.content["application/json"] : undefined
      return content && "example" in content ? content.example : undefined
    }
    expect(BatchRequest.safeParse(exampleOf("/api/signals/batch")).success).toBe(true)
    expect(Signal.safeParse(exampleOf("/api/signals")).success).toBe(true)
  })
})
