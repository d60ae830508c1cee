import { type ObjectKind, type ObjectName, objectName } from './object-store.ts'

/*
 * Where restic's "default" layout keeps an object: `config`, `keys/<id>`, `data/<first two digits>/<id>`.
 * Relative paths with `/`, for directories, SFTP and S3 alike.
 */

const idPattern = /^[0-9a-f]{64}$/
const fanOutPattern = /^[0-9a-f]{2}$/

/** The SHA-256 in an object's name, or `null` for `config`, which has none. */
export function idOf(name: ObjectName): string | null {
  const slash = name.indexOf('/')
  return slash < 0 ? null : name.slice(slash + 1)
}

export interface ObjectPlace {
  /** '' for the repository's own directory. */
  readonly directory: string
  readonly file: string
}

export function placeOf(name: ObjectName): ObjectPlace {
  const id = idOf(name)
  if (id === null) return { directory: '', file: name }
  const kind = name.slice(0, name.indexOf('/'))
  return { directory: kind === 'data' ? `data/${id.slice(0, 2)}` : kind, file: id }
}

export function isFanOut(directoryName: string): boolean {
  return fanOutPattern.test(directoryName)
}

/** The object that a file in a directory of `kind` is, or `null` when the file is none of ours. */
export function nameOfFile(
  kind: Exclude<ObjectKind, 'config'>,
  file: string,
  fanOut?: string,
): ObjectName | null {
  if (!idPattern.test(file) || (fanOut !== undefined && !file.startsWith(fanOut))) return null
  return objectName(kind, file)
}
