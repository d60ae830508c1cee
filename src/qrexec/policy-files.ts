import { posix } from 'node:path'
import { invalid, type Place, parseRule, parseService, type Rule } from './policy-rules.ts'

/*
 * A policy directory in the format of Qubes R4.1 and later ("5.0"): which files count, in which order, and what
 * directives bring in. One fault anywhere makes the whole policy invalid, so that every call is denied.
 */

const includeDepthMax = 16
const rulesMax = 20_000

/** Where stock Qubes keeps policy; an absolute path in an include must lie in one of these. */
const installedDirectories = ['/run/qubes/policy.d/', '/etc/qubes/policy.d/']

/** Text by path within the directory, e.g. `30-user.policy`, `include/admin-local-rwx`. */
export type PolicyDirectory = ReadonlyMap<string, string>

export interface Policy {
  /** In order: the first that matches decides. */
  readonly rules: readonly Rule[]
}

/** What is in force until there is a policy, and when there is none that can be read. */
export const denyAll: Policy = { rules: [] }

/**
 * Parses all `*.policy` files of the directories in the byte order of their names; of files of the same name the one in
 * the earlier directory counts. Throws `POLICY_INVALID` with file and line.
 *
 * `!compat-4.0` is refused: it would bring in files from outside the directory.
 */
export function parsePolicy(...directories: readonly PolicyDirectory[]): Policy {
  const chosen = new Map<string, PolicyDirectory>()
  for (const directory of directories)
    for (const file of policyFiles(directory, '')) if (!chosen.has(file)) chosen.set(file, directory)
  const rules: Rule[] = []
  for (const file of [...chosen.keys()].sort(byteOrder)) {
    const directory = chosen.get(file) ?? new Map()
    new Loader(directory, rules).load(file, 0)
  }
  return { rules }
}

/** The policy files directly in `folder` (empty, or with a final slash). */
function policyFiles(directory: PolicyDirectory, folder: string): readonly string[] {
  const files: string[] = []
  for (const path of directory.keys()) {
    const name = path.slice(folder.length)
    if (!path.startsWith(folder) || name.includes('/')) continue
    if (name.startsWith('.') || !name.endsWith('.policy')) continue
    if (!/^[0-9a-z_.-]+$/.test(name))
      throw invalid({ file: path, line: 0 }, 'a file name with characters outside 0-9 a-z _ . -')
    files.push(path)
  }
  return files.sort(byteOrder)
}

function byteOrder(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

/** The service and argument that a file in the old format is for, as written. */
interface OldFormat {
  readonly service: string
  readonly argument: string
}

class Loader {
  readonly #directory: PolicyDirectory
  readonly #rules: Rule[]

  constructor(directory: PolicyDirectory, rules: Rule[]) {
    this.#directory = directory
    this.#rules = rules
  }

  load(file: string, depth: number, oldFormat?: OldFormat): void {
    for (const [index, raw] of (this.#directory.get(file) ?? '').split(/\r\n|\r|\n/).entries()) {
      const place = { file, line: index + 1 }
      const line = raw.trim()
      if (line === '' || line.startsWith('#')) continue
      if (/[^\t\x20-\x7e]/.test(line)) throw invalid(place, 'a character outside printable ASCII')
      if (oldFormat) this.#oldLine(line, place, depth, oldFormat)
      else this.#line(line.split(/[\t ]+/), place, depth)
    }
  }

  #line(words: readonly string[], place: Place, depth: number): void {
    const [directive, ...parameters] = words
    if (!directive?.startsWith('!')) {
      this.#add(parseRule(words, place))
      return
    }
    if (directive === '!include') this.load(this.#file(only(parameters, place), place, depth), depth + 1)
    else if (directive === '!include-dir') this.#includeDirectory(only(parameters, place), place, depth)
    else if (directive === '!include-service') {
      const [service, argument, path] = parameters
      if (service === undefined || argument === undefined || path === undefined || parameters.length > 3)
        throw invalid(place, `${directive} takes a service, an argument and a path`)
      parseService(service, argument, place)
      this.load(this.#file(path, place, depth), depth + 1, { service, argument })
    } else throw invalid(place, `unknown directive '${directive}'`)
  }

  /** `SOURCE TARGET ACTION[,option=value,…]` with `$` for `@`, as before R4.1. */
  #oldLine(line: string, place: Place, depth: number, format: OldFormat): void {
    const words = line
      .replaceAll('$include:', '!include ')
      .replaceAll('$', '@')
      .replaceAll(',', ' ')
      .trim()
      .split(/[\t ]+/)
    const [directive, ...parameters] = words
    if (!directive?.startsWith('!')) this.#add(parseRule([format.service, format.argument, ...words], place))
    else if (directive === '!include')
      this.load(this.#file(only(parameters, place), place, depth), depth + 1, format)
    else throw invalid(place, `unknown directive '${directive}'`)
  }

  #includeDirectory(path: string, place: Place, depth: number): void {
    const folder = `${this.#resolve(path, place)}/`
    if (![...this.#directory.keys()].some(file => file.startsWith(folder)))
      throw invalid(place, `no directory '${path}'`)
    if (depth >= includeDepthMax) throw invalid(place, `included deeper than ${includeDepthMax}`)
    for (const file of policyFiles(this.#directory, folder)) this.load(file, depth + 1)
  }

  #file(path: string, place: Place, depth: number): string {
    const file = this.#resolve(path, place)
    if (!this.#directory.has(file)) throw invalid(place, `no file '${path}'`)
    if (depth >= includeDepthMax) throw invalid(place, `included deeper than ${includeDepthMax}`)
    return file
  }

  /** Relative to the policy directory, never to the including file. */
  #resolve(path: string, place: Place): string {
    const home = installedDirectories.find(directory => path.startsWith(directory)) ?? ''
    const resolved = posix.normalize(path.slice(home.length)).replace(/\/$/, '')
    if (resolved.startsWith('/') || resolved.startsWith('..') || resolved === '.')
      throw invalid(place, `'${path}' is outside the policy directory`)
    return resolved
  }

  #add(rule: Rule): void {
    if (this.#rules.length >= rulesMax) throw invalid(rule.place, `more than ${rulesMax} rules`)
    this.#rules.push(rule)
  }
}

function only(parameters: readonly string[], place: Place): string {
  const [path] = parameters
  if (path === undefined || parameters.length !== 1) throw invalid(place, 'an include takes one path')
  return path
}
