/** One spelling of something that must not be found, or that must be. */
export interface Needle {
  /** What it is: a finding is reported under this name, never with its bytes. */
  readonly name: string
  readonly form: string
  readonly bytes: Buffer
}

export interface Finding {
  readonly name: string
  readonly form: string
  readonly where: string
}

/** Text as the heap of a JavaScript engine may hold it: one byte a character, or two. */
export function textNeedles(name: string, text: string): readonly Needle[] {
  return [
    { name, form: 'text', bytes: Buffer.from(text, 'latin1') },
    { name, form: 'UTF-16', bytes: Buffer.from(text, 'utf16le') },
  ]
}

/** Bytes as they are, and as they are usually written. */
export function bytesNeedles(name: string, bytes: Uint8Array): readonly Needle[] {
  const raw = Buffer.from(bytes)
  const spelt = [raw.toString('hex'), raw.toString('base64').replace(/=+$/, '')]
  return [{ name, form: 'bytes', bytes: raw }, ...spelt.flatMap(text => textNeedles(name, text))]
}

export function search(haystack: Buffer, needles: readonly Needle[], where: string): readonly Finding[] {
  return needles
    .filter(({ bytes }) => haystack.indexOf(bytes) >= 0)
    .map(({ name, form }) => ({ name, form, where }))
}

/** How far two windows over the same bytes must overlap so that no needle lies across an edge. */
export function overlapBytes(needles: readonly Needle[]): number {
  return Math.max(0, ...needles.map(({ bytes }) => bytes.byteLength - 1))
}

export function describeFindings(findings: readonly Finding[]): string {
  const lines = findings.map(({ name, form, where }) => `${name} (${form}) in ${where}`)
  return [...new Set(lines)].slice(0, 20).join('; ')
}
