import { readFileSync } from 'node:fs'
import { utf8 } from '../../src/base/bytes.ts'
import { CodedError } from '../../src/base/errors.ts'
import { parseProfileName, parseVmName } from '../../src/base/names.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import { type Profile, parseProfile } from '../../src/profiles/profile.ts'
import type { SelectableVm } from '../../src/profiles/selection.ts'

export const nightly = parseProfileName('nightly')

export function profileOf(text: string): Profile {
  return parseProfile(new Untrusted(utf8(text)), nightly)
}

/** A valid profile with these lines more, or instead. */
export function profileText(changes: Readonly<Record<string, string>> = {}): string {
  const lines = {
    include: '[ work ]',
    destination_vm: 'sys-store',
    destination_path: '/backup',
    passphrase_vm: 'vault',
    ...changes,
  }
  return Object.entries(lines)
    .map(([key, value]) => `${key}: ${value}\n`)
    .join('')
}

export function vm(name: string, more: Partial<Omit<SelectableVm, 'name'>> = {}): SelectableVm {
  return { name: parseVmName(name), class: 'AppVM', tags: [], includeInBackups: true, ...more }
}

/** The error that `act` throws; anything but a `CodedError` fails the test. */
export function errorOf(act: () => unknown): CodedError {
  try {
    act()
  } catch (error) {
    if (error instanceof CodedError) return error
    throw error
  }
  throw new Error('expected an error')
}

export function vectors<T>(path: string): readonly T[] {
  return JSON.parse(readFileSync(new URL(`../vectors/${path}`, import.meta.url), 'utf8')) as readonly T[]
}
