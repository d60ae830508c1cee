/** One measured value: a JSON object a line. */
export function report(what: string, value: number, unit: string): void {
  process.stdout.write(`${JSON.stringify({ what, value: Number(value.toPrecision(4)), unit })}\n`)
}
