import { isKey, isKeyPage, isKeyUsage, isMadeKey } from "./api/answers.ts"
import type { ApiKeyDay, ApiKeyLimits, ApiKeyRecord, MadeApiKey, NewApiKey } from "./api/queries.ts"
import { encodeJson } from "./base/encode.ts"
import type { CallOptions } from "./http/request.ts"
import type { Transport } from "./http/transport.ts"

/** When a rotation ends which key. */
export interface KeyRotation {
  /** When the new key ends by itself, in ISO 8601. Default: never. */
  expires_at?: string | undefined
  /** When the former key ends, in ISO 8601. Default: it stays valid until it is revoked. */
  former_expires_at?: string | undefined
}

/** The API keys that are made while the service runs. Every method needs the scope `admin`. */
export class KeysClient {
  readonly #transport: Transport

  constructor(transport: Transport) {
    this.#transport = transport
  }

  /** Yields every key, newest first, also those that have ended; requests each page when it is needed. */
  async *list(options: CallOptions = {}): AsyncGenerator<ApiKeyRecord, void, undefined> {
    let cursor: string | null = null
    do {
      const exchange = { query: { limit: 200, cursor }, isExpected: isKeyPage }
      const page = await this.#transport.get("/api/keys", exchange, options)
      const { keys, next_cursor } = page as { keys: ApiKeyRecord[]; next_cursor: string | null }
      yield* keys
      cursor = next_cursor
    } while (cursor !== null)
  }

  /** A key's record; undefined when none has this id. */
  async get(id: string, options: CallOptions = {}): Promise<ApiKeyRecord | undefined> {
    return this.#transport.find<ApiKeyRecord>(pathOf(id), isKey, options)
  }

  /**
   * Makes a key. Its answer is the only one that has the key itself.
   *
   * @throws {RequestError} with the code `key_conflict` the name is taken, also by an attempt of this call
   *   whose answer was lost: rotate that key
   * @throws {ValidationError | UnauthorizedError} no key was made
   * @throws {DeadlineError | AbortedError} the key may be made: list the keys
   */
  async add(key: NewApiKey, options: CallOptions = {}): Promise<MadeApiKey> {
    return this.#make("/api/keys", encodeJson(key, "key"), options)
  }

  /**
   * Makes another key for the caller of a key, which stays valid unless `former_expires_at` ends it.
   *
   * @param id of the former key
   * @throws {RequestError} no key has this id, or two keys of its name are valid already
   * @throws {DeadlineError | AbortedError} the key may be made: list the keys
   */
  async rotate(id: string, rotation: KeyRotation = {}, options: CallOptions = {}): Promise<MadeApiKey> {
    return this.#make(`${pathOf(id)}/rotate`, encodeJson(rotation, "rotation"), options)
  }

  /**
   * Revokes a key: the service refuses it within 60 seconds. To revoke it again is safe.
   *
   * @throws {RequestError} no key has this id
   */
  async revoke(id: string, options: CallOptions = {}): Promise<ApiKeyRecord> {
    return (await this.#transport.delete(pathOf(id), { isExpected: isKey }, options)) as ApiKeyRecord
  }

  /**
   * Sets what the caller of a key may send in a day, for every key of its name. The service learns of it
   * within 60 seconds.
   *
   * @throws {RequestError} no key has this id
   */
  async limit(id: string, limits: ApiKeyLimits, options: CallOptions = {}): Promise<ApiKeyRecord> {
    const text = encodeJson(limits, "limits")
    return (await this.#transport.patch(pathOf(id), text, { isExpected: isKey }, options)) as ApiKeyRecord
  }

  /** What the caller of a key sent on each of the last `days` days, 1 to 31, today included, newest first. */
  async usage(id: string, days = 7, options: CallOptions = {}): Promise<ApiKeyDay[]> {
    const exchange = { query: { days }, isExpected: isKeyUsage }
    const usage = await this.#transport.get(`${pathOf(id)}/usage`, exchange, options)
    return (usage as { days: ApiKeyDay[] }).days
  }

  async #make(path: string, text: string, options: CallOptions): Promise<MadeApiKey> {
    return (await this.#transport.post(path, text, { isExpected: isMadeKey }, options)) as MadeApiKey
  }
}

const pathOf = (id: string) => `/api/keys/${encodeURIComponent(id)}`
