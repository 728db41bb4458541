import { make } from "../base/dom.ts"
import { link } from "../base/parts.ts"
import { linkTo } from "../base/router.ts"

/** The parameters of values of the payload, and how many of them the service reads. */
const PAYLOAD_PREFIX = "payload."
const MAX_PAYLOAD_FILTERS = 5

export interface FilterField {
  /** Of the query parameter. */
  name: string
  label: string
  /** `payload`: any number of parameters, `path=value` each. */
  kind?: "text" | "search" | "time" | "score" | "flag" | "payload"
}

/** An instant in the viewer's zone, in the format of a time input. */
function localTime(instant: string): string {
  const date = new Date(instant)
  if (Number.isNaN(date.getTime())) return ""
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19)
}

/** The values of a field in the address. */
function valuesOf({ name, kind }: FilterField, params: URLSearchParams): string[] {
  if (kind !== "payload") return [params.get(name) ?? ""]
  const given = [...params].filter(([name]) => name.startsWith(PAYLOAD_PREFIX))
  const texts = given.map(([name, value]) => `${name.slice(PAYLOAD_PREFIX.length)}=${value}`)
  return texts.length < MAX_PAYLOAD_FILTERS ? [...texts, ""] : texts
}

function inputOf({ name, kind = "text" }: FilterField, value: string, nth: number): HTMLInputElement {
  const id = nth === 0 ? `filter-${name}` : `filter-${name}-${nth + 1}`
  if (kind === "flag")
    return make("input", { id, name, type: "checkbox", value: "1", ...(value === "1" && { checked: "" }) })
  if (kind === "score")
    return make("input", { id, name, type: "number", min: "0", max: "1", step: "any", value })
  if (kind === "time")
    return make("input", { id, name, type: "datetime-local", step: "1", value: localTime(value) })
  return make("input", {
    id,
    name,
    type: kind === "search" ? "search" : "text",
    maxlength: kind === "search" ? "200" : kind === "payload" ? "1537" : "1024",
    autocomplete: "off",
    spellcheck: "false",
    ...(kind === "payload" && {
      placeholder: "order.id=1",
      pattern: ".+=.*",
      title: "A path, =, and a value",
    }),
    value,
  })
}

/** On a phone a form of this many fields would fill the first screen. */
const IS_NARROW = "(max-width: 560px)"

/**
 * A form whose fields go into the address, which defines what the view shows. On a phone it opens by a tap.
 */
export function filterForm(
  path: string,
  fields: readonly FilterField[],
  params: URLSearchParams,
): HTMLElement {
  const inputs = fields.flatMap((field) =>
    valuesOf(field, params).map((value, nth) => ({ field, input: inputOf(field, value, nth) })),
  )
  const form = make(
    "form",
    { class: "filters", "data-filters": path },
    ...inputs.map(({ field, input }) =>
      make("div", {}, make("label", { for: input.id }, field.label), input),
    ),
    make(
      "div",
      { class: "ends" },
      make("button", { type: "submit", class: "main" }, "Filter"),
      link(linkTo(path), "Clear"),
    ),
  )
  form.addEventListener("submit", (event) => {
    event.preventDefault()
    const given = inputs.map(({ field, input }) => parameterOf(field, input))
    location.hash = linkTo(path, Object.fromEntries(given))
  })
  const box = make("details", { class: "card filtering" }, make("summary", {}, "Filters"), form)
  const isFiltered = inputs.some(({ input }) =>
    input.type === "checkbox" ? input.checked : input.value !== "",
  )
  box.open = isFiltered || !matchMedia(IS_NARROW).matches
  return box
}

function parameterOf({ name, kind }: FilterField, input: HTMLInputElement): [name: string, value: string] {
  if (kind === "flag") return [name, input.checked ? "1" : ""]
  if (kind === "time") return [name, input.value === "" ? "" : new Date(input.value).toISOString()]
  if (kind === "search") return [name, input.value]
  if (kind !== "payload") return [name, input.value.trim()]
  // At the first equals sign that no backslash makes a part of a key.
  const [, path = "", value = ""] =
    /^((?:\\[\\.=]|\\(?![\\.=])|[^=\\])+)=(.*)$/.exec(input.value.trim()) ?? []
  return [PAYLOAD_PREFIX + path, value]
}
