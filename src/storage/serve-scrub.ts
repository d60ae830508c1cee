import type { Clock } from '../base/environment.ts'
import type { Log } from '../base/log.ts'
import { parseRepositoryName, type RepositoryName } from '../base/names.ts'
import { storageScrub } from '../qrexec/calls/storage.ts'
import type { Handler } from '../qrexec/server.ts'
import { StorageError } from './errors.ts'
import type { ObjectStore } from './object-store.ts'
import { scrub } from './scrub.ts'
import { type ScrubProgress, type ScrubReport, writeScrubLine } from './scrub-lines.ts'
import type { ScrubMemory } from './scrub-memory.ts'
import { onlyDom0 } from './sink.ts'

const progressMilliseconds = 1_000

export interface ScrubService {
  readonly repositories: (name: RepositoryName) => ObjectStore
  readonly memory: (name: RepositoryName) => ScrubMemory
  /** `null`: as fast as it goes. */
  readonly bytesPerSecondMax: number | null
  readonly clock: Clock
  readonly log: Log
}

/** Serves `strongroom.Scrub`: one at a time for each repository, as long as the caller stays. */
export function serveScrub(service: ScrubService): Readonly<Record<string, Handler>> {
  const running = new Set<RepositoryName>()
  return {
    [storageScrub.service]: async ({ argument, source, stream }) => {
      onlyDom0(source)
      const name = parseRepositoryName(argument)
      const gone = new AbortController()
      const leave = () =>
        gone.abort(new StorageError('STORAGE_UNAVAILABLE', 'the caller of the scrub has gone'))
      stream.once('end', leave)
      stream.once('close', leave)
      // Nothing is said to us. Reading on is what notices the end; what is read is thrown away.
      stream.resume()
      try {
        if (running.has(name))
          throw new StorageError('STORAGE_BUSY', `a scrub of '${name}' runs already`, { retry: true })
        running.add(name)
        try {
          const tell = (progress: ScrubProgress) => {
            if (!stream.writableNeedDrain) writeScrubLine(stream, { progress })
          }
          writeScrubLine(stream, { report: await run(service, name, tell, gone.signal) })
        } finally {
          running.delete(name)
        }
      } catch (error) {
        if (!gone.signal.aborted) writeScrubLine(stream, { error })
        throw error
      } finally {
        stream.end()
      }
    },
  }
}

async function run(
  { repositories, memory, bytesPerSecondMax, clock, log }: ScrubService,
  name: RepositoryName,
  tell: (progress: ScrubProgress) => void,
  signal: AbortSignal,
): Promise<ScrubReport> {
  let last = Number.NEGATIVE_INFINITY
  const onProgress = (progress: ScrubProgress) => {
    const now = clock.monotonic()
    if (now - last < progressMilliseconds) return
    last = now
    tell(progress)
  }
  const ports = { clock, log, memory: memory(name), bytesPerSecondMax, onProgress }
  const report = await scrub(repositories(name), ports, signal)
  for (const finding of report.findings) log.error('a damaged object', { repository: name, ...finding })
  log.info('scrubbed', { repository: name, objects: report.objects, damaged: report.damaged })
  return report
}
