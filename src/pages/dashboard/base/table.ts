import { make } from "./dom.ts"

export interface Column<Row> {
  title: string
  /** Aligned to the right. */
  numeric?: true
  cell: (row: Row) => Node | string
}

export interface Table<Row> {
  show(rows: Row[]): void
}

/**
 * A table in a box that scrolls, also by keyboard. Where the box is narrow, the style sheet shows each row as
 * a card, with the title of each cell before it.
 *
 * @param options.hook the attribute that identifies a row, and its value
 */
export function table<Row>(
  panel: HTMLElement,
  options: {
    label: string
    none: string
    hook: (row: Row) => [name: string, value: string]
    columns: Column<Row>[]
  },
): Table<Row> {
  const body = make("tbody")
  const none = make("p", { class: "none" }, options.none)
  const heads = options.columns.map(({ title, numeric }) =>
    make("th", { scope: "col", ...align(numeric) }, title),
  )
  const box = make(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": options.label },
    make("table", { "aria-label": options.label }, make("thead", {}, make("tr", {}, ...heads)), body),
  )
  box.hidden = none.hidden = true
  panel.append(box, none)

  const build = (row: Row): HTMLTableRowElement => {
    const [name, value] = options.hook(row)
    const cells = options.columns.map((column) =>
      make("td", { ...align(column.numeric), "data-title": column.title }, column.cell(row)),
    )
    return make("tr", { [name]: value }, ...cells)
  }

  /** The rows by their content. An unchanged row keeps its element, its focus and its open details. */
  let shown = new Map<string, HTMLTableRowElement>()
  return {
    show(rows) {
      const next = new Map(rows.map((row) => [JSON.stringify(row), row]))
      for (const [text, row] of shown) if (!next.has(text)) row.remove()
      const kept = new Map<string, HTMLTableRowElement>()
      let index = 0
      for (const [text, row] of next) {
        const element = shown.get(text) ?? build(row)
        kept.set(text, element)
        const current = body.rows[index++]
        if (current !== element) body.insertBefore(element, current ?? null)
      }
      shown = kept
      box.hidden = rows.length === 0
      none.hidden = !box.hidden
    },
  }
}

const align = (numeric?: true): Record<string, string> => (numeric ? { class: "number" } : {})
