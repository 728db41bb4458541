import fc from "fast-check"
import { verifySlackRequest } from "slack-edge"
import { describe, expect, it } from "vitest"
import { type SlackHeaders, slackSignatureError } from "../../../../src/bridges/slack/signature.ts"

const SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
const NOW = 1_531_420_618

/** The example of https://docs.slack.dev/authentication/verifying-requests-from-slack/ */
const BODY =
  "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner" +
  "&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN" +
  "&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
const SIGNATURE = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"

const bytes = (text: string) => new TextEncoder().encode(text)
const errorOf = ({ body = bytes(BODY), ...headers }: Partial<SlackHeaders & { body: Uint8Array }> = {}) =>
  slackSignatureError(
    { timestamp: String(NOW), signature: SIGNATURE, secrets: [SECRET], nowSeconds: NOW, ...headers },
    body,
  )

async function sign(secret: string, timestamp: string, body: Uint8Array): Promise<string> {
  const key = await crypto.subtle.importKey("raw", bytes(secret), { name: "HMAC", hash: "SHA-256" }, false, [
    "sign",
  ])
  const signed = new Uint8Array([...bytes(`v0:${timestamp}:`), ...body])
  return `v0=${new Uint8Array(await crypto.subtle.sign("HMAC", key, signed)).toHex()}`
}

describe("a request's signature", () => {
  it("is valid for Slack's own example", async () => expect(await errorOf()).toBeUndefined())

  it("is valid exactly when an independent verifier accepts it, for any body", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "grapheme" }), fc.boolean(), async (text, forged) => {
        const nowSeconds = Math.floor(Date.now() / 1000)
        const timestamp = String(nowSeconds)
        const signature = await sign(forged ? "another secret" : SECRET, timestamp, bytes(text))
        const headers = new Headers({
          "x-slack-request-timestamp": timestamp,
          "x-slack-signature": signature,
        })
        const oracle = await verifySlackRequest(SECRET, headers, text)
        expect(oracle).toBe(!forged)
        expect((await errorOf({ timestamp, signature, body: bytes(text), nowSeconds })) === undefined).toBe(
          oracle,
        )
      }),
    )
  })

  it("covers the bytes as they were sent", async () => {
    const body = Uint8Array.from({ length: 256 }, (_, value) => value)
    expect(await errorOf({ body, signature: await sign(SECRET, String(NOW), body) })).toBeUndefined()
  })

  it("can be made with the former secret during a rotation", async () => {
    expect(await errorOf({ secrets: ["the new one", SECRET] })).toBeUndefined()
    expect(await errorOf({ secrets: [SECRET, "the new one"] })).toBeUndefined()
    expect(await errorOf({ secrets: ["the new one", "the one after"] })).toMatch(
      /^X-Slack-Signature is not that of this body/,
    )
  })

  it.each([-300, 300])("is valid %i seconds from now", async (away) =>
    expect(await errorOf({ nowSeconds: NOW + away })).toBeUndefined(),
  )

  it.each([-301, 301, 86_400])("is not valid %i seconds from now", async (away) =>
    expect(await errorOf({ nowSeconds: NOW + away })).toBe(
      "X-Slack-Request-Timestamp is more than 300 seconds from now.",
    ),
  )

  const WRONG = {
    missing: "X-Slack-Request-Timestamp and X-Slack-Signature are required: only Slack may call this.",
    timestamp: "X-Slack-Request-Timestamp must be seconds since the epoch.",
    form: "X-Slack-Signature must be v0= and 64 hexadecimal digits.",
    forged: "X-Slack-Signature is not that of this body under the signing secret.",
    unset: "SLACK_SIGNING_SECRET is not set, so every call is refused.",
  }

  it.each([
    [WRONG.missing, { timestamp: undefined }],
    [WRONG.missing, { signature: undefined }],
    [WRONG.timestamp, { timestamp: "" }],
    [WRONG.timestamp, { timestamp: "1531420618.5" }],
    [WRONG.timestamp, { timestamp: "-1531420618" }],
    [WRONG.timestamp, { timestamp: "0x5b47a14a" }],
    [WRONG.timestamp, { timestamp: `${NOW}\n` }],
    [WRONG.timestamp, { timestamp: "١٥٣١٤٢٠٦١٨" }],
    [WRONG.form, { signature: "" }],
    [WRONG.form, { signature: SIGNATURE.replace("v0=", "v1=") }],
    [WRONG.form, { signature: SIGNATURE.slice(0, -1) }],
    [WRONG.form, { signature: `${SIGNATURE}0` }],
    [WRONG.form, { signature: SIGNATURE.toUpperCase().replace("V0=", "v0=") }],
    [WRONG.forged, { body: bytes(`${BODY} `) }],
    [WRONG.forged, { body: bytes("") }],
    [WRONG.forged, { timestamp: String(NOW + 1) }],
    [WRONG.forged, { timestamp: `0${NOW}` }],
    [WRONG.unset, { secrets: [] }],
  ])("proves nothing, and the reason names no secret: %s %j", async (sentence, request) =>
    expect(await errorOf(request)).toBe(sentence),
  )

  it("is invalid with any bit changed", async () => {
    for (let index = 3; index < SIGNATURE.length; index++) {
      const changed = (Number.parseInt(SIGNATURE[index] ?? "0", 16) ^ 1).toString(16)
      const signature = SIGNATURE.slice(0, index) + changed + SIGNATURE.slice(index + 1)
      expect(await errorOf({ signature })).toBeDefined()
    }
  })
})
