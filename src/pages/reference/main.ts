/** Set by scalar.js. @see https://github.com/scalar/scalar/blob/main/documentation/configuration.md */
declare const Scalar: { createApiReference(place: string, configuration: object): void }

/** The page sends nothing to other origins: no fonts, usage data, proxy or assistant of a third party. */
const OURS_ALONE = {
  withDefaultFonts: false,
  telemetry: false,
  proxyUrl: "",
  agent: { disabled: true },
  mcp: { disabled: true },
  hideClientButton: true,
  showDeveloperTools: "never",
}

Scalar.createApiReference("#reference", {
  ...OURS_ALONE,
  url: "/openapi.json",
  theme: "none",
  layout: "modern",
  documentDownloadType: "none",
  defaultOpenAllTags: true,
  modelsSectionLabel: "Schemas",
  orderSchemaPropertiesBy: "preserve",
  defaultHttpClient: { targetKey: "shell", clientKey: "curl" },
})
