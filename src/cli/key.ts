import { createHash, randomBytes } from "node:crypto"
import { Argument, Command, InvalidArgumentError } from "@commander-js/extra-typings"
import { ANONYMOUS_NAME, apiKeyOf, KEY_NAME, RANDOM_BYTES } from "../keys/form.ts"
import { SCOPES } from "../signals/rules.ts"

function readName(text: string): string {
  if (!KEY_NAME.test(text)) throw new InvalidArgumentError("It must have 1 to 100 letters, digits or . _ @ -")
  // The service uses this name for callers without a key.
  if (text === ANONYMOUS_NAME) throw new InvalidArgumentError('It must not be "anonymous".')
  return text
}

/** `signals key`: makes an API key, and its entry for API_KEYS, which holds only the key's SHA-256. */
export function keyCommand() {
  return new Command("key")
    .description("Makes an API key, and its entry for API_KEYS.")
    .argument("<name>", "the name of the key in logs and in the ledger", readName)
    .addArgument(new Argument("<scope...>", "what the key may do").choices(SCOPES))
    .action((name, scopes) => {
      const key = apiKeyOf(randomBytes(RANDOM_BYTES))
      const entry = {
        name,
        sha256: createHash("sha256").update(key).digest("hex"),
        scopes: [...new Set(scopes)],
      }
      console.log(`Key, shown only now:  ${key}\nEntry for API_KEYS:   ${JSON.stringify(entry)}`)
    })
}
