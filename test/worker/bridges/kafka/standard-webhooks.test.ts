import fc from "fast-check"
import { Webhook } from "standardwebhooks"
import { describe, expect, it } from "vitest"
import {
  MAX_SIGNATURES,
  standardWebhookError,
  standardWebhookHeaderError,
  type WebhookHeaders,
} from "../../../../src/bridges/kafka/standard-webhooks.ts"

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
const NOW = 1_674_087_231

const bytes = (text: string) => new TextEncoder().encode(text)
const signed = (body: string, secret = SECRET, at = NOW) => ({
  id: "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
  timestamp: String(at),
  signature: new Webhook(secret).sign("msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", new Date(at * 1000), body),
  body: bytes(body),
})
const errorOf = ({ body, ...headers }: Partial<WebhookHeaders & { body: Uint8Array }>) => {
  const { body: signedBody, ...signedHeaders } = signed("{}")
  return standardWebhookError(
    { ...signedHeaders, secrets: [SECRET], nowSeconds: NOW, ...headers },
    body ?? signedBody,
  )
}

describe("a Standard Webhooks signature", () => {
  it("is accepted as the specification's own library makes it, for any body", () =>
    fc.assert(
      fc.asyncProperty(fc.string({ unit: "grapheme" }), async (body) => {
        expect(await errorOf(signed(body))).toBeUndefined()
        expect(await errorOf({ ...signed(body), body: bytes(`${body} `) })).toBe(
          "webhook-signature is not that of this body under the secret.",
        )
      }),
    ))

  it("is one of several, some of another version or another secret", async () => {
    const { signature } = signed("{}")
    const other = signed("{}", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").signature
    expect(await errorOf({ signature: `v1a,abcd ${other} ${signature}` })).toBeUndefined()
    expect(await errorOf({ signature: other })).toBeDefined()
  })

  it("is refused by its headers alone when it has more than ten parts, or none of 32 bytes", () => {
    const { body: _, ...headers } = signed("{}")
    const headerFault = (signature: string) =>
      standardWebhookHeaderError({ ...headers, signature, secrets: [SECRET], nowSeconds: NOW })
    const list = (count: number) => Array(count).fill(headers.signature).join(" ")
    expect(headerFault(list(MAX_SIGNATURES))).toBeUndefined()
    expect(headerFault(list(MAX_SIGNATURES + 1))).toBe("webhook-signature must hold at most 10 signatures.")
    expect(headerFault(Array(3000).fill("v1,").join(" "))).toBe(
      "webhook-signature must hold at most 10 signatures.",
    )
    for (const bytes of [0, 31, 33]) {
      const signature = `v1,${new Uint8Array(bytes).toBase64()}`
      expect(headerFault(signature)).toBe(
        "webhook-signature must hold v1, and a signature of 32 bytes in base64.",
      )
    }
  })

  it("can be made with the former secret during a rotation", async () =>
    expect(await errorOf({ secrets: ["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", SECRET] })).toBeUndefined())

  it.each([-300, 300])("is valid %i seconds from now", async (away) =>
    expect(await errorOf({ nowSeconds: NOW + away })).toBeUndefined(),
  )

  it.each([
    { nowSeconds: NOW + 301 },
    { nowSeconds: NOW - 301 },
    { id: undefined },
    { id: "another" },
    { timestamp: undefined },
    { timestamp: "soon" },
    { timestamp: String(NOW + 1) },
    { signature: undefined },
    { signature: "" },
    { signature: "v1," },
    { signature: "v1,***" },
    { signature: "v2,AAAA" },
    { secrets: [] },
    { secrets: ["whsec_***"] },
    { secrets: ["whsec_"] },
  ])("proves nothing when something about it is wrong: %j", async (request) => {
    const sentence = await errorOf(request)
    expect(sentence).toMatch(/^(webhook|WEBHOOK).*\.$/)
    expect(sentence).not.toContain(SECRET)
  })
})
