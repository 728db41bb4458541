import { uuidv7 } from "uuidv7"
import { LoggableError } from "../errors.ts"
import { decodeUtf8 } from "../signals/json.ts"
import type { BatchRecord } from "../signals/responses.ts"
import type { NewBatch, NewScores } from "../store/batches/batch.ts"
import type { Delivery } from "../store/batches/deliveries.ts"
import { isBatch, isDelivery, isVersion, parseObject, versionOf } from "./messages.ts"

/** The content of an object that waits in the bucket. */
export type ClaimCheck =
  /** A batch that is stored later, with its future record in the ledger. */
  | { kind: "batch"; record: BatchRecord; batch: NewBatch }
  | { kind: "scores"; record: BatchRecord; batch: NewScores }
  /** Deliveries of webhooks: too large for a message, or taken out of the queue during an outage. */
  | { kind: "deliveries"; deliveries: readonly Delivery[] }
  /** The body of a message that no version of the service reads. */
  | { kind: "message"; id: string; body: unknown }

/** The prefixes of objects that are not stored yet. */
export const CLAIM_CHECK_PREFIXES = ["batches/", "deliveries/", "messages/"] as const

export const batchObject = (transactionId: string) => `batches/${transactionId}`

/**
 * When the oldest waiting batch was put into the bucket. It is listed first, because transaction ids are
 * UUIDv7.
 */
export async function oldestBatchUpload(bucket: R2Bucket): Promise<Date | undefined> {
  const { objects } = await bucket.list({ prefix: batchObject(""), limit: 1 })
  return objects[0]?.uploaded
}

/** The name under which an unreadable claim check is kept. */
export const unreadableObject = (object: string) =>
  object.startsWith("unreadable/") ? object : `unreadable/${object}`

/** This version of the service cannot read the object: another version wrote it, or it is damaged. */
export class UnreadableClaimCheck extends LoggableError {}

/**
 * Writes a header line, then one item on each line, so that the record for the ledger can be read without the
 * batch.
 */
function claimCheckText(claimCheck: ClaimCheck): string {
  const version = claimCheck.kind === "deliveries" ? versionOf(claimCheck.deliveries) : 1
  const lines = (header: object, things: readonly unknown[]) =>
    [{ version, kind: claimCheck.kind, ...header }, ...things]
      .map((thing) => JSON.stringify(thing))
      .join("\n")
  switch (claimCheck.kind) {
    case "batch":
    case "scores":
      return lines({ record: claimCheck.record }, [claimCheck.batch])
    case "deliveries":
      return lines({}, claimCheck.deliveries)
    case "message":
      return lines({ id: claimCheck.id }, [claimCheck.body ?? null])
  }
}

/**
 * Puts a claim check into the bucket.
 *
 * @returns the object's name, which no other claim check has
 */
export async function putClaimCheck(bucket: R2Bucket, claimCheck: ClaimCheck): Promise<string> {
  const object =
    "batch" in claimCheck
      ? batchObject(claimCheck.batch.transactionId)
      : `${claimCheck.kind === "message" ? "messages" : "deliveries"}/${uuidv7()}`
  await bucket.put(object, claimCheckText(claimCheck))
  return object
}

/**
 * Reads a claim check; undefined when the object does not exist.
 *
 * @throws {UnreadableClaimCheck}
 */
export async function getClaimCheck(bucket: R2Bucket, object: string): Promise<ClaimCheck | undefined> {
  const found = await bucket.get(object)
  if (!found) return undefined
  const claimCheck = readClaimCheck(decodeOrNothing(await found.arrayBuffer()))
  if (!claimCheck) throw new UnreadableClaimCheck(`no version of the service reads ${object}`)
  return claimCheck
}

/** The text of an object; "" where it is not UTF-8. */
function decodeOrNothing(bytes: ArrayBuffer): string {
  try {
    return decodeUtf8(new Uint8Array(bytes))
  } catch {
    return ""
  }
}

/** The claim check in the text of an object; undefined when this version of the service cannot read it. */
export function readClaimCheck(text: string): ClaimCheck | undefined {
  try {
    const [first = "", ...lines] = text.split("\n")
    const header = parseObject(first)
    const things: unknown[] = lines.map((line) => JSON.parse(line))
    const [thing] = things
    if (!header || !isVersion(header.version)) return undefined
    if (header.kind === "batch" && isBatch(thing))
      return { kind: "batch", record: header.record as BatchRecord, batch: thing as NewBatch }
    if (header.kind === "scores" && isBatch(thing))
      return { kind: "scores", record: header.record as BatchRecord, batch: thing as NewScores }
    if (header.kind === "deliveries" && things.every(isDelivery))
      return { kind: "deliveries", deliveries: things }
    if (header.kind === "message") return { kind: "message", id: String(header.id), body: thing }
  } catch {
    return undefined
  }
}

/** Most headers are shorter. A longer one has many failures, and needs a second read. */
const HEADER_BYTES = 64 * 1024

/**
 * The future ledger record of a batch that waits in the bucket; undefined when there is no such batch. Reads
 * no more bytes than it needs.
 */
export async function claimCheckRecord(
  bucket: R2Bucket,
  transactionId: string,
): Promise<BatchRecord | undefined> {
  for (const object of [batchObject(transactionId), unreadableObject(batchObject(transactionId))]) {
    for (const options of [{ range: { offset: 0, length: HEADER_BYTES } }, {}]) {
      const found = await bucket.get(object, options)
      if (!found) break
      const text = await found.text()
      const end = text.indexOf("\n")
      const record =
        end >= 0 ? (parseObject(text.slice(0, end))?.record as BatchRecord | undefined) : undefined
      if (record) return record
      if (end >= 0) return undefined
    }
  }
}
