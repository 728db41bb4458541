import { expect, it } from "vitest"
import { readSettings } from "../../../src/config.ts"
import { resealSubscriptions } from "../../../src/deliver/reseal.ts"
import { placeOf } from "../../../src/deliver/run.ts"
import { connect } from "../../../src/store/database/connection.ts"
import { createSubscription, findSubscription } from "../../../src/store/subscriptions/records.ts"
import { seal, unseal } from "../../../src/subscriptions/secrets.ts"
import { bindings } from "../service.ts"

const FORMER = ["a-former-secret-of-the-tests-for-sealing"]
const KEYS = ["a-new-secret-of-the-tests-for-sealing", ...FORMER]

it("seals addresses and secrets by the new secret, once, so that the former one is needed no more", async () => {
  const db = connect(readSettings(bindings).database)
  const id = crypto.randomUUID()
  const url = "https://hooks.example.com/in"
  await createSubscription(db, {
    ...{ id, name: id, format: "signals", filter: {}, createdBy: "tests" },
    url: await seal(FORMER, placeOf(id, "url"), url),
    secret: await seal(FORMER, placeOf(id, "secret"), "whsec_AAAA"),
  })
  expect(await resealSubscriptions(db, FORMER)).toBe(0)
  expect(await resealSubscriptions(db, KEYS)).toBe(1)
  const found = await findSubscription(db, id)
  const alone = KEYS.slice(0, 1)
  expect(await unseal(alone, placeOf(id, "url"), found?.sealedUrl ?? "")).toBe(url)
  expect(await unseal(alone, placeOf(id, "secret"), found?.sealedSecrets[0] ?? "")).toBe("whsec_AAAA")
  expect(await resealSubscriptions(db, KEYS)).toBe(0)
})
