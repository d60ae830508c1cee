import { UsageError } from './usage.ts'

const units: Readonly<Record<string, number>> = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 }

/** `512M`, `4G`; a whole number of 4 KiB blocks. */
export function parseSize(text: string): number {
  const [, number = '', unit = ''] = /^(\d+)([KMGT]?)$/.exec(text) ?? []
  const bytes = Number(number) * (units[unit] ?? 0)
  if (!(bytes > 0) || bytes % 4096 !== 0) throw new UsageError(`not a size: '${text}'; expected e.g. 512M`)
  return bytes
}

/** A whole number from 1 on. */
export function parseCount(text: string, name: string): number {
  const count = Number(text)
  if (!Number.isSafeInteger(count) || count < 1) throw new UsageError(`--${name} ${text}: expected 1 or more`)
  return count
}
