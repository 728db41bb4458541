import { make } from "../../base/dom.ts"
import { moment } from "../../base/format.ts"
import type { ChartData } from "./chart.ts"

/** The data of a chart as a collapsed table. Its rows exist only while it is open. */
export function chartTable(names: string[], format: (value: number | null | undefined) => string) {
  const heads = ["Time", ...names].map((name, index) =>
    make("th", { scope: "col", class: index === 0 ? "" : "number" }, name),
  )
  const body = make("tbody")
  const box = make(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": names.join(", ") },
    make("table", {}, make("thead", {}, make("tr", {}, ...heads)), body),
  )
  const element = make("details", { class: "as-table" }, make("summary", {}, "As a table"), box)
  let data: ChartData | undefined

  const fill = () => {
    if (!element.open || !data) return
    const { times, values } = data
    const rows = times.map((time, at) =>
      make(
        "tr",
        {},
        make(
          "td",
          {},
          make("time", { datetime: time.toISOString(), title: `${time.toISOString()} (UTC)` }, moment(time)),
        ),
        ...values.map((line) => make("td", { class: "number" }, format(line[at]))),
      ),
    )
    body.replaceChildren(...rows.reverse())
  }
  element.addEventListener("toggle", fill)

  return {
    element,
    show(next: ChartData) {
      data = next
      fill()
    },
  }
}
