import { make } from "../../base/dom.ts"
import { type Chart, type Colour, chart } from "./chart.ts"

/** A name of an answer, null for all others together, and its value at each step. */
export interface NamedLine {
  name: string | null
  values: number[]
}

export interface NamedChart {
  show(lines: readonly NamedLine[], steps: { times: Date[]; stepSeconds: number }): void
  /** The colour of a name as it is drawn now. */
  colourOf(name: string | null): Colour
  repaint(): void
}

const COLOURS: readonly Colour[] = [1, 2, 3, 4, 5, 6]
const OF_OTHERS: Colour = 7

export const OTHERS = "all others"

/**
 * A chart whose lines are the names in an answer. A name keeps its colour as long as it is there; the chart
 * is made anew when the names change.
 *
 * @param options.none the sentence while there are no lines
 */
export function namedChart(
  panel: HTMLElement,
  options: {
    none: string
    format: (value: number | null | undefined) => string
    summary: (names: string) => string
  },
): NamedChart {
  const container = panel.appendChild(make("div"))
  const colours = new Map<string, Colour>()
  let drawn: { chart: Chart; key: string } | undefined

  const colourOf = (name: string | null) => (name === null ? OF_OTHERS : (colours.get(name) ?? OF_OTHERS))

  const assignColours = (names: readonly (string | null)[]) => {
    for (const name of colours.keys()) if (!names.includes(name)) colours.delete(name)
    for (const name of names) {
      const free = COLOURS.find((colour) => ![...colours.values()].includes(colour))
      if (name !== null && free !== undefined && !colours.has(name)) colours.set(name, free)
    }
  }

  return {
    colourOf,
    show(lines, { times, stepSeconds }) {
      const names = lines.map(({ name }) => name)
      assignColours(names)
      if (lines.length === 0) {
        drawn = undefined
        container.replaceChildren(make("p", { class: "none" }, options.none))
        return
      }
      const key = JSON.stringify(names)
      if (drawn?.key !== key) {
        container.replaceChildren()
        const shown = names.map((name) => ({ name: name ?? OTHERS, colour: colourOf(name) }))
        const summary = options.summary(shown.map(({ name }) => name).join(", "))
        drawn = {
          key,
          chart: chart(container, {
            lines: shown,
            format: options.format,
            ceiling: 1,
            whole: true,
            summary: () => summary,
          }),
        }
      }
      drawn.chart.show({ times, stepSeconds, values: lines.map(({ values }) => values) })
    },
    repaint: () => drawn?.chart.repaint(),
  }
}
