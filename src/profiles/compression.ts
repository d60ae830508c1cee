import { printable } from '../base/errors.ts'
import { fault } from './errors.ts'
import { booleanOf, textOf } from './yaml-fields.ts'
import type { YamlNode } from './yaml-node.ts'

/** `filter` compresses a portable archive as `PROGRAM` and opens it as `PROGRAM -d`; `null` when not enabled. */
export interface Compression {
  readonly enabled: boolean
  readonly filter: string | null
}

export const compressionDefault: Compression = { enabled: true, filter: 'gzip' }

/** Accepted by every restore. */
const filtersAlways = ['gzip', 'bzip2', 'xz']
/** Accepted by a restore on a machine where the program is installed. */
const filtersWhereInstalled = ['lzma', 'pbzip2', 'pigz', 'zstd', 'zstdmt']

/** A boolean or the name of a filter. Throws `PROFILE_COMPRESSION`. */
export function parseCompression(node: YamlNode, warnings: string[]): Compression {
  if (node.kind === 'scalar' && node.type === 'boolean')
    return booleanOf(node, 'compression') ? compressionDefault : { enabled: false, filter: null }
  const filter = textOf(node, 'compression')
  if (filtersAlways.includes(filter)) return { enabled: true, filter }
  if (filtersWhereInstalled.includes(filter)) {
    warnings.push(`compression: '${filter}' must be installed where an archive is restored`)
    return { enabled: true, filter }
  }
  // The backup header's grammar (section "Header" of Qubes backup format v4); stock qubesd writes what a restore then refuses.
  const reason = /^[A-Za-z0-9-]+$/.test(filter)
    ? 'is no filter that a restore knows'
    : 'cannot stand in a backup header, so the archive would be refused at restore'
  throw fault('PROFILE_COMPRESSION', node.at, `compression '${printable(filter).slice(0, 80)}' ${reason}`)
}
