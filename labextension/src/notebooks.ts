/** Cells of a notebook as jobs know them. Pure: what of a cell can run in a job is decided where the job is made. */

/** The number that "Restart Kernel and Run All Cells" would give to the code cell at a place among the code cells. */
export function numberOf(sources: string[], place: number): number {
  return sources.slice(0, place + 1).filter(source => source.trim()).length;
}
