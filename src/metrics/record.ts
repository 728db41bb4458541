import { type DataPoint, dataPoint, type RequestPoint } from "./point.ts"

/** The dataset of a deployment; on a developer's machine the stand-in's, whose method is a call to another Worker. */
export interface Dataset {
  writeDataPoint(point: DataPoint): void | Promise<void>
}

/** Writes the data point of a request. Never throws: a fault of the metrics may not cost a signal, so it is told to the log alone. */
export async function recordPoint(dataset: Dataset | undefined, point: RequestPoint): Promise<void> {
  try {
    await dataset?.writeDataPoint(dataPoint(point))
  } catch (error) {
    console.warn(JSON.stringify({ event: "data_point_lost", fault: error instanceof Error ? error.message : "unknown" }))
  }
}
