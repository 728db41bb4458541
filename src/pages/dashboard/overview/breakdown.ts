import type { MetricsAnswer } from "../../../metrics/answer.ts"
import { codeMeanings, explained, type Meaning } from "../base/codes.ts"
import { find, make } from "../base/dom.ts"
import { count, share } from "../base/format.ts"
import { linkTo } from "../base/router.ts"
import { table } from "../base/table.ts"
import type { Colour } from "./charts/chart.ts"
import { type NamedLine, namedChart, OTHERS } from "./charts/named-chart.ts"

/** The length of a step in words: "15 seconds", "minute", "2 hours". */
function stepInWords(seconds: number): string {
  const [size, unit] =
    seconds % 3600 === 0 ? [3600, "hour"] : seconds % 60 === 0 ? [60, "minute"] : [1, "second"]
  return seconds === size ? String(unit) : `${seconds / Number(size)} ${unit}s`
}

/** The name of a row behind the colour of its line, and a link where a view helps. */
function named(name: string, colour: Colour, href?: string): HTMLElement {
  const text = make("span", { class: "name" }, name)
  return make(
    "span",
    { class: `key line-${colour}` },
    make("i"),
    href === undefined ? text : make("a", { href }, text),
  )
}

/** Steps before the first request that brought signals show nothing. */
function measured({ series, step_seconds, measured_since }: MetricsAnswer) {
  const first = series.findIndex(
    ({ time }) => Date.parse(time) + step_seconds * 1000 > Date.parse(measured_since),
  )
  const times = series.slice(first).map(({ time }) => new Date(time))
  return { times, stepSeconds: step_seconds, from: Math.max(0, first) }
}

type SourceRow = { name: string | null; colour: Colour; signals: number; share: number }

/** Which sources the signals come from. */
export function sourcesPanel() {
  const panel = find('[data-panel="sources"]')
  const chart = namedChart(panel, {
    none: "No signal was stored in this window.",
    format: count,
    summary: (names) => `Signals stored over time, by source: ${names}.`,
  })
  const rows = table<SourceRow>(panel, {
    label: "Signals by source",
    none: "",
    hook: ({ name }) => ["data-source", name ?? OTHERS],
    columns: [
      {
        title: "Source",
        cell: ({ name, colour }) =>
          named(
            name ?? OTHERS,
            colour,
            name === null ? undefined : linkTo("signals", { signal_source: name }),
          ),
      },
      { title: "Signals", numeric: true, cell: ({ signals }) => count(signals) },
      { title: "Share", numeric: true, cell: (row) => share(row.share) },
    ],
  })
  return {
    show(answer: MetricsAnswer): void {
      const { from, ...steps } = measured(answer)
      const lines = answer.sources.map(
        ({ source, signals_created_by_step }): NamedLine => ({
          name: source,
          values: signals_created_by_step.slice(from),
        }),
      )
      chart.show(lines, steps)
      const total = answer.sources.reduce((sum, { signals_created }) => sum + signals_created, 0)
      rows.show(
        answer.sources.map(({ source, signals_created: signals }) => {
          return { name: source, colour: chart.colourOf(source), signals, share: signals / total }
        }),
      )
      find("[data-step]", panel).textContent = `signals in each ${stepInWords(answer.step_seconds)}`
    },
    repaint: chart.repaint,
  }
}

type FailureRow = {
  name: string | null
  colour: Colour
  requests: number
  signals: number
  meaning: Meaning | undefined
}

/** A code that the ledger knows leads to its batches. */
function codeCell({ name, colour, meaning }: FailureRow): HTMLElement {
  const href = name !== null && meaning?.inLedger ? linkTo("batches", { failure_code: name }) : undefined
  const cell = make("div", {}, named(name ?? OTHERS, colour, href))
  if (meaning) cell.append(make("p", { class: "explained" }, explained(meaning)))
  return cell
}

/** Why requests and signals fail. */
export function failuresPanel() {
  const panel = find('[data-panel="failures"]')
  const chart = namedChart(panel, {
    none: "No failure in this window.",
    format: count,
    summary: (names) => `Requests with a failure over time, by its code: ${names}.`,
  })
  const rows = table<FailureRow>(panel, {
    label: "Failures by code",
    none: "",
    hook: ({ name }) => ["data-code", name ?? OTHERS],
    columns: [
      { title: "Code", cell: codeCell },
      { title: "Requests", numeric: true, cell: ({ requests }) => count(requests) },
      { title: "Signals", numeric: true, cell: ({ signals }) => count(signals) },
    ],
  })
  return {
    async show(answer: MetricsAnswer): Promise<void> {
      const { failure_codes: failures } = answer
      const { from, ...steps } = measured(answer)
      chart.show(
        failures.map(
          ({ code, requests_by_step }): NamedLine => ({ name: code, values: requests_by_step.slice(from) }),
        ),
        steps,
      )
      find("[data-step]", panel).textContent =
        `requests with a failure in each ${stepInWords(answer.step_seconds)}`
      const meanings = failures.length > 0 ? await codeMeanings() : new Map<string, Meaning>()
      rows.show(
        failures.map(({ code, requests, signals_failed: signals }) => {
          return {
            name: code,
            colour: chart.colourOf(code),
            requests,
            signals,
            meaning: meanings.get(code ?? ""),
          }
        }),
      )
    },
    repaint: chart.repaint,
  }
}
