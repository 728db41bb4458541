import { make } from "../base/dom.ts"
import { link } from "../base/parts.ts"
import { linkTo } from "../base/router.ts"

export interface FilterField {
  /** Of the query parameter. */
  name: string
  label: string
  kind?: "text" | "time" | "score" | "flag"
}

/** An instant in the viewer's zone, in the format of a time input. */
function localTime(instant: string): string {
  const date = new Date(instant)
  if (Number.isNaN(date.getTime())) return ""
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19)
}

function inputOf({ name, kind = "text" }: FilterField, value: string): HTMLInputElement {
  const id = `filter-${name}`
  if (kind === "flag")
    return make("input", { id, name, type: "checkbox", value: "1", ...(value === "1" && { checked: "" }) })
  if (kind === "score")
    return make("input", { id, name, type: "number", min: "0", max: "1", step: "any", value })
  if (kind === "time")
    return make("input", { id, name, type: "datetime-local", step: "1", value: localTime(value) })
  return make("input", {
    id,
    name,
    type: "text",
    maxlength: "1024",
    autocomplete: "off",
    spellcheck: "false",
    value,
  })
}

/** A form whose fields go into the address, which defines what the view shows. */
export function filterForm(
  path: string,
  fields: readonly FilterField[],
  params: URLSearchParams,
): HTMLElement {
  const inputs = fields.map((field) => ({ field, input: inputOf(field, params.get(field.name) ?? "") }))
  const form = make(
    "form",
    { class: "card filters", "data-filters": path },
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
    const given = inputs.map(({ field, input }) => [field.name, enteredIn(field, input)] as const)
    location.hash = linkTo(path, Object.fromEntries(given))
  })
  return form
}

function enteredIn({ kind }: FilterField, input: HTMLInputElement): string {
  if (kind === "flag") return input.checked ? "1" : ""
  if (kind === "time") return input.value === "" ? "" : new Date(input.value).toISOString()
  return input.value.trim()
}
