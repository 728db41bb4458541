import { type Parts, withParts } from "./parts.ts"
import { type DataPoint, dataPoint, type Point } from "./point.ts"

/** The dataset of a deployment, or of the local stand-in, whose method calls another Worker. */
export interface Dataset {
  writeDataPoint(point: DataPoint): void | Promise<void>
}

/**
 * Writes a data point and its parts. Never throws: an error of the metrics must not fail a request, so it
 * only goes to the log.
 */
export async function recordPoint(dataset: Dataset | undefined, point: Point, parts: Parts): Promise<void> {
  try {
    await Promise.all(withParts(point, parts).map((one) => dataset?.writeDataPoint(dataPoint(one))))
  } catch (error) {
    console.warn(
      JSON.stringify({ event: "data_point_lost", error: error instanceof Error ? error.message : "unknown" }),
    )
  }
}
