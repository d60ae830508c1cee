import { unlink } from 'node:fs/promises'
import path from 'node:path'
import { utf8 } from '../base/bytes.ts'
import { CodedError } from '../base/errors.ts'
import { ignoreMissing, makePrivateDirectory, readBounded, writeDurably } from '../base/files.ts'
import { fields, is, parseJson } from '../base/json.ts'
import type { Log } from '../base/log.ts'
import type { RepositoryName } from '../base/names.ts'
import { type ObjectName, parseObjectName } from './object-store.ts'
import { reportFields, type ScrubReport } from './scrub-lines.ts'

/** A scrub that was stopped: all objects up to `after` have been hashed, and this is what came of it. */
export interface ScrubState extends ScrubReport {
  readonly after: ObjectName | null
}

/** Where a scrub keeps its position. It may be lost: the next one then begins anew. */
export interface ScrubMemory {
  load(): Promise<ScrubState | null>
  save(state: ScrubState): Promise<void>
  clear(): Promise<void>
}

const stateBytesMax = 64 * 1024
/** Beside the repositories: no repository has a name that begins with a dot. */
const directoryName = '.scrub'

const parseState = fields('position of a scrub', {
  after: is.nullable(is.name(parseObjectName)),
  ...reportFields,
})

export function scrubMemory(repositories: string, repository: RepositoryName, log: Log): ScrubMemory {
  const directory = path.join(repositories, directoryName)
  const file = path.join(directory, `${repository}.json`)
  return {
    async load() {
      try {
        const untrustedBytes = await readBounded(file, stateBytesMax)
        return (
          untrustedBytes?.parse(bytes => parseState(parseJson(bytes, { bytesMax: stateBytesMax }))) ?? null
        )
      } catch (error) {
        if (!(error instanceof CodedError)) throw error
        log.warn('the position of a scrub does not read; it begins anew', { repository, error })
        return null
      }
    },
    async save(state) {
      await makePrivateDirectory(directory)
      await writeDurably(file, utf8(JSON.stringify(state)))
    },
    clear: () => unlink(file).catch(ignoreMissing),
  }
}
