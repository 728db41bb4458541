import { createRequire, registerHooks } from "node:module"
import { pathToFileURL } from "node:url"

/** `node print-types.ts openapi.json`: prints the types that openapi-typescript makes of a description. */

// It needs the JavaScript API of TypeScript 5, which TypeScript 7 does not have; this dependency brings a
// copy.
const typescript5 = pathToFileURL(
  createRequire(import.meta.resolve("@arethetypeswrong/core")).resolve("typescript"),
).href
registerHooks({
  resolve: (specifier, context, next) => next(specifier === "typescript" ? typescript5 : specifier, context),
})

const { default: openapiTS, astToString } = await import("openapi-typescript")
process.stdout.write(astToString(await openapiTS(pathToFileURL(process.argv[2] ?? ""))))
