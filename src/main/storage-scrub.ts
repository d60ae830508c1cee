import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { BaseError } from '../base/base-errors.ts'
import { systemEnvironment } from '../base/environment.ts'
import { errorKinds } from '../base/errors.ts'
import { createLog } from '../base/log.ts'
import { parseRepositoryName, type RepositoryName } from '../base/names.ts'
import { amountText, bytesText, countText, parseBytes, rateMeter } from '../base/quantities.ts'
import { StorageError } from '../storage/errors.ts'
import { LocalStore } from '../storage/local.ts'
import { scrub } from '../storage/scrub.ts'
import type { ScrubProgress, ScrubReport } from '../storage/scrub-lines.ts'
import { scrubMemory } from '../storage/scrub-memory.ts'
import type { Answer } from './command-line.ts'

export interface ScrubCommand {
  /** The directory of all repositories. */
  readonly repositories: string
  /** None: every repository there is. */
  readonly names: readonly string[]
  /** As typed: `50M`; bytes a second. */
  readonly limitRead: string | undefined
  readonly json: boolean
}

/** `strongroom storage scrub`. Damage is a result; it sets the exit status. */
export async function runScrub(command: ScrubCommand, signal: AbortSignal): Promise<Answer> {
  const { repositories, limitRead, json } = command
  const names = await chosenRepositories(command)
  const bytesPerSecondMax = limitRead === undefined ? null : parseBytes(limitRead)
  const { clock } = systemEnvironment
  const log = createLog('scrub')
  const result: (ScrubReport & { readonly repository: RepositoryName })[] = []
  for (const repository of names) {
    const store = new LocalStore(path.join(repositories, repository), systemEnvironment)
    const memory = scrubMemory(repositories, repository, log)
    const { onProgress, end } = json ? silent : terminalProgress(repository)
    try {
      const report = await scrub(store, { clock, log, memory, bytesPerSecondMax, onProgress }, signal)
      result.push({ repository, ...report })
    } catch (error) {
      if (!signal.aborted) throw error
      throw new BaseError('CANCELLED', `the scrub of '${repository}' was stopped${foundIn(result)}`, {
        hint: 'the next one goes on from there',
      })
    } finally {
      end()
    }
  }
  const status = result.some(({ damaged }) => damaged > 0) ? errorKinds.integrity.exit : 0
  return { result, text: result.flatMap(textOf), status }
}

async function chosenRepositories({ repositories, names }: ScrubCommand): Promise<readonly RepositoryName[]> {
  const entries = await readdir(repositories, { withFileTypes: true })
  const there = entries.filter(entry => entry.isDirectory()).map(({ name }) => name)
  const known = there.flatMap(name => asRepository(name) ?? []).sort()
  if (names.length === 0) return known
  const wanted = names.map(parseRepositoryName)
  const unknown = wanted.find(name => !known.includes(name))
  if (unknown === undefined) return wanted
  throw new StorageError('STORAGE_MISSING', `there is no repository '${unknown}'`, {
    hint: `the repositories are ${known.join(', ') || 'none'}`,
  })
}

/** `null`: something else that lies beside the repositories. */
function asRepository(name: string): RepositoryName | null {
  try {
    return parseRepositoryName(name)
  } catch {
    return null
  }
}

/** Of the repositories before: their result is not printed. */
function foundIn(result: readonly (ScrubReport & { readonly repository: string })[]): string {
  const damaged = result.filter(one => one.damaged > 0)
  return damaged.map(one => `; ${countText(one.damaged, 'damaged object')} in '${one.repository}'`).join('')
}

function textOf({ repository, objects, bytes, damaged, findings }: ScrubReport & { repository: string }) {
  const verdict = damaged === 0 ? 'all are what their names say' : `${damaged} DAMAGED`
  const rest = damaged - findings.length
  return [
    `${repository}: ${countText(objects, 'object')}, ${bytesText(bytes)}: ${verdict}`,
    ...findings.map(({ name, fault }) => `  ${name}  ${fault}`),
    ...(rest > 0 ? [`  and ${rest} more`] : []),
  ]
}

interface ProgressLine {
  onProgress(progress: ScrubProgress): void
  end(): void
}

const silent: ProgressLine = { onProgress() {}, end() {} }
const redrawMilliseconds = 200

/** One line that is drawn over again; nothing where nobody watches. */
function terminalProgress(repository: string): ProgressLine {
  const { stderr } = process
  if (!stderr.isTTY) return silent
  const { clock } = systemEnvironment
  const rate = rateMeter(clock)
  const clear = '\r\u001b[K'
  let drawn = Number.NEGATIVE_INFINITY
  return {
    onProgress({ objectsDone, objectsTotal, bytesDone, bytesTotal }) {
      const now = clock.monotonic()
      if (now - drawn < redrawMilliseconds) return
      drawn = now
      const line =
        bytesTotal === 0
          ? `${repository}: listing`
          : `${repository}: ${objectsDone} of ${objectsTotal} objects  ${amountText(bytesDone, bytesTotal, rate(bytesDone))}`
      stderr.write(`${clear}${line.slice(0, stderr.columns - 1)}`)
    },
    end: () => void stderr.write(clear),
  }
}
