import { GiB, KiB, MiB } from '../base/bytes.ts'
import { printable } from '../base/errors.ts'

const TiB = 1024 * GiB
const units = [
  [TiB, 'TiB'],
  [GiB, 'GiB'],
  [MiB, 'MiB'],
  [KiB, 'KiB'],
] as const

export function bytesText(bytes: number): string {
  const [unit, name] = units.find(([size]) => bytes >= size) ?? [1, 'B']
  return unit === 1 ? `${Math.round(bytes)} B` : `${(bytes / unit).toFixed(1)} ${name}`
}

/** `0:42`, `12:05`, `3:07:00`. */
export function durationText(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000))
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
  const [hours = 0, minutes = 0, rest = 0] = parts
  const two = (value: number) => String(value).padStart(2, '0')
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`
}

/** `2026-11-24 03:15:00Z`. */
export function timeText(time: string | null): string {
  return time === null ? '-' : time.replace('T', ' ').replace(/\.\d+Z$/, 'Z')
}

/** Columns as wide as their widest cell; no trailing space, so that lines stay greppable. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, ...rows].map(row => row.map(printable))
  const widths = head.map((_, column) => Math.max(...lines.map(line => (line[column] ?? '').length)))
  return lines
    .map(line =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .map(line => `${line}\n`)
    .join('')
}
