/** Set by scalar.js. @see https://github.com/scalar/scalar/blob/main/documentation/configuration.md */
declare const Scalar: { createApiReference(selector: string, configuration: object): void }

/** The page sends nothing to other origins: no fonts, usage data, proxy or assistant of a third party. */
const NO_THIRD_PARTIES = {
  withDefaultFonts: false,
  telemetry: false,
  proxyUrl: "",
  agent: { disabled: true },
  mcp: { disabled: true },
  hideClientButton: true,
  showDeveloperTools: "never",
}

Scalar.createApiReference("#reference", {
  ...NO_THIRD_PARTIES,
  url: "/openapi.json",
  theme: "none",
  layout: "modern",
  documentDownloadType: "none",
  defaultOpenAllTags: true,
  modelsSectionLabel: "Schemas",
  orderSchemaPropertiesBy: "preserve",
  defaultHttpClient: { targetKey: "shell", clientKey: "curl" },
})
