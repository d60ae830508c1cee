import { BaseError } from '../base/base-errors.ts'
import { printable } from '../base/errors.ts'
import { parseVmName } from '../base/names.ts'
import { fault, type Position } from './errors.ts'

/** One item of include or exclude. `value` is the name, the tag or the class; `text` is in the `@` spelling. */
export interface Selector {
  readonly kind: 'name' | 'tag' | 'type'
  readonly value: string
  readonly text: string
  readonly at: Position
}

/** The classes of VMs that qubesd has; another one would silently match nothing. */
const vmClasses = ['AppVM', 'TemplateVM', 'StandaloneVM', 'DispVM', 'AdminVM', 'RemoteVM']

/** `NAME`, `@tag:T`, `@type:C`, and the old spelling with `$`. Throws `PROFILE_SELECTOR`. */
export function parseSelector(untrustedText: string, at: Position): Selector {
  const text = untrustedText.replaceAll('$', '@')
  if (text.startsWith('@tag:')) return { kind: 'tag', value: parseTag(text.slice(5), at), text, at }
  if (text.startsWith('@type:')) return { kind: 'type', value: parseClass(text.slice(6), at), text, at }
  if (text.startsWith('@'))
    throw fault(
      'PROFILE_SELECTOR',
      at,
      `'${brief(text)}' is a word of the qrexec policy that selects no VM of a backup`,
    )
  return { kind: 'name', value: parseName(text, at), text, at }
}

function parseTag(untrustedTag: string, at: Position): string {
  if (/^[A-Za-z0-9_-]{1,64}$/.test(untrustedTag)) return untrustedTag
  throw fault(
    'PROFILE_SELECTOR',
    at,
    `'${brief(untrustedTag)}' is no tag; expected 1 to 64 of A-Z a-z 0-9 _ -`,
  )
}

function parseClass(untrustedClass: string, at: Position): string {
  if (vmClasses.includes(untrustedClass)) return untrustedClass
  throw fault(
    'PROFILE_SELECTOR',
    at,
    `'${brief(untrustedClass)}' is no class of VMs; expected ${vmClasses.join(', ')}`,
  )
}

function parseName(untrustedName: string, at: Position): string {
  try {
    return parseVmName(untrustedName)
  } catch (cause) {
    if (!(cause instanceof BaseError)) throw cause
    throw fault('PROFILE_SELECTOR', at, cause.message, { cause })
  }
}

function brief(untrustedText: string): string {
  return printable(untrustedText).slice(0, 80)
}
