import uPlot from "uplot"
import { make } from "../../base/dom.ts"
import { axisSpan, axisTime, moment } from "../../base/format.ts"
import { chartTable } from "./chart-table.ts"

/** Number of a line's colour: --line-1 and so on in colours.css. */
export type Colour = 1 | 2 | 3 | 4 | 5 | 6 | 7

/** One line of a chart. */
export interface Line {
  name: string
  colour: Colour
  filled?: true
}

export interface ChartData {
  times: Date[]
  stepSeconds: number
  /** One row of values a line; null where there is no value. */
  values: (number | null)[][]
}

export interface Chart {
  show(data: ChartData): void
  /** Draws again, after the colours changed. */
  repaint(): void
}

const HEIGHT = 190

/** Distances of ticks that are whole numbers. */
const WHOLE = Array.from({ length: 10 }, (_, power) => [1, 2, 5].map((step) => step * 10 ** power)).flat()

/** A resolved colour: canvas knows neither custom properties nor light-dark(). */
function colourOf(name: string, within: HTMLElement): string {
  const probe = make("span")
  probe.style.color = `var(${name})`
  within.append(probe)
  const { color } = getComputedStyle(probe)
  probe.remove()
  return color
}

/** Steps without a neighbour: no line reaches them, so they get a dot. */
const loneSteps: uPlot.Series.Points.Filter = (self, line) => {
  const values = self.data[line] ?? []
  const known = (at: number) => typeof values[at] === "number"
  return [...values.keys()].filter((at) => known(at) && !known(at - 1) && !known(at + 1))
}

const withAlpha = (colour: string, percent: number) =>
  `color-mix(in srgb, ${colour} ${percent}%, transparent)`

interface Scale {
  format: (value: number | null | undefined) => string
  /** The least top of the scale. */
  ceiling?: number
  /** The values are counts, so the ticks are whole numbers. */
  whole?: true
}

function axesOf(panel: HTMLElement, { format, whole }: Scale): uPlot.Axis[] {
  const axis: uPlot.Axis = {
    stroke: colourOf("--muted", panel),
    font: "11px system-ui, sans-serif",
    grid: { stroke: colourOf("--grid", panel), width: 1 },
    ticks: { show: false },
  }
  return [
    {
      ...axis,
      size: 28,
      space: 64,
      values: (_, splits, __, ___, step) => splits.map((at) => axisTime(new Date(at * 1000), step)),
    },
    {
      ...axis,
      size: 56,
      space: 36,
      values: (_, splits) => splits.map((value) => format(value)),
      ...(whole && { incrs: WHOLE }),
    },
  ]
}

function seriesOf(panel: HTMLElement, { name, colour, filled }: Line): uPlot.Series {
  const stroke = colourOf(`--line-${colour}`, panel)
  return {
    label: name,
    stroke,
    width: 1.75,
    points: { show: false, size: 7, filter: loneSteps },
    ...(filled && { fill: withAlpha(stroke, 14) }),
  }
}

/**
 * A chart in `panel`: a legend with the values under the pointer, or else the last ones; the lines; and the
 * data as a table.
 *
 * @param options.summary what the chart shows, in a sentence for screen readers
 */
export function chart(
  panel: HTMLElement,
  options: Scale & { lines: Line[]; summary: (data: ChartData) => string },
): Chart {
  const { lines, format } = options
  const when = make("span", { class: "when" })
  const readings = lines.map(() => make("b"))
  const keys = lines.map(({ name, colour }, index) =>
    make("span", { class: `line-${colour}` }, make("i"), `${name} `, readings[index] ?? ""),
  )
  const canvasBox = make("div", { class: "plot", role: "img", "aria-label": "Nothing to show yet" })
  const asTable = chartTable(
    lines.map(({ name }) => name),
    format,
  )
  panel.append(make("p", { class: "legend" }, ...keys, when), canvasBox, asTable.element)

  let data: ChartData | undefined
  let plot: uPlot | undefined

  const lastPlace = () =>
    data?.values[0]?.findLastIndex((_, at) => data?.values.some((row) => row[at] !== null)) ?? -1
  const read = (pointed: number | null | undefined) => {
    const at = pointed ?? lastPlace()
    for (const [row, reading] of readings.entries()) reading.textContent = format(data?.values[row]?.[at])
    const time = data?.times[at]
    when.textContent = time && pointed !== null && pointed !== undefined ? moment(time) : ""
  }

  const draw = () => {
    if (!data) return
    const aligned: uPlot.AlignedData = [data.times.map((time) => time.getTime() / 1000), ...data.values]
    if (plot) plot.setData(aligned)
    else plot = new uPlot(appearance(), aligned, canvasBox)
    read(plot.cursor.idx)
  }

  const appearance = (): uPlot.Options => ({
    width: Math.max(canvasBox.clientWidth, 120),
    height: HEIGHT,
    padding: [12, 28, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { setScale: false, x: false, y: false }, points: { size: 7 } },
    scales: {
      x: { range: ({ data: [times] }) => axisSpan(times, data?.stepSeconds ?? 0) },
      y: { range: (_, __, top) => [0, Math.max((top ?? 0) * 1.08, options.ceiling ?? 0) || 1] },
    },
    axes: axesOf(panel, options),
    series: [{}, ...lines.map((line) => seriesOf(panel, line))],
    hooks: {
      setCursor: [(self) => read(self.cursor.idx)],
      drawClear: [
        ({ scales: { x } }) => canvasBox.setAttribute("data-seconds", String((x?.max ?? 0) - (x?.min ?? 0))),
      ],
    },
  })

  const repaint = () => {
    plot?.destroy()
    plot = undefined
    draw()
  }
  new ResizeObserver(() =>
    plot?.setSize({ width: Math.max(canvasBox.clientWidth, 120), height: HEIGHT }),
  ).observe(canvasBox)

  return {
    show(next) {
      data = next
      canvasBox.setAttribute("aria-label", options.summary(next))
      draw()
      asTable.show(next)
    },
    repaint,
  }
}
