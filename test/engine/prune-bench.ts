import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { utf8 } from '../../src/base/bytes.ts'
import { type Clock, type Environment, systemEnvironment } from '../../src/base/environment.ts'
import { parseIdempotencyKey } from '../../src/base/names.ts'
import { Secret } from '../../src/base/secret.ts'
import type { Order } from '../../src/engine/orders.ts'
import type { RepositoryHistory } from '../../src/ledger/repository-history.ts'
import type { Job } from '../../src/qrexec/calls/orders.ts'
import { checkRepository } from '../../src/repository/check.ts'
import type { CheckReport } from '../../src/repository/check-report.ts'
import { openRepository } from '../../src/repository/repository.ts'
import { objectName, parseObjectName } from '../../src/storage/object-store.ts'
import {
  type BenchOptions,
  type EngineBench,
  makeBench,
  mgmt,
  passphraseText,
  testProfile,
} from '../support/engine.ts'
import type { MemoryStore } from '../support/memory-store.ts'

const run = promisify(execFile)
const never = new AbortController().signal
const day = 24 * 3_600_000

/** Stands still until a test moves it; `monotonic` and `sleep` are real. */
export class TestClock implements Clock {
  time = Date.parse('2026-03-02T12:00:00Z')
  now(): Date {
    return new Date(this.time)
  }
  monotonic(): number {
    return systemEnvironment.clock.monotonic()
  }
  sleep(duration: number, signal?: AbortSignal): Promise<void> {
    return systemEnvironment.clock.sleep(Math.min(duration, 5), signal)
  }
}

export interface PruneBench extends EngineBench {
  readonly clock: TestClock
  /** A day later, with new noise in the image of `work`, KiB of it from KiB on. */
  backUp(kibibytes?: number, from?: number): Promise<Job>
  prune(more?: Partial<Order>): Promise<Job>
  history(): RepositoryHistory
  check(readData?: boolean): Promise<CheckReport>
}

export const profileWith = (retention: string, more = ''): string =>
  `${testProfile}strongroom:\n  retention: ${retention}\n${more}`

let keys = 0
export const newKey = () => parseIdempotencyKey(`prune-${String(++keys).padStart(8, '0')}`)

export async function pruneBench(profileText: string, options: BenchOptions = {}): Promise<PruneBench> {
  const clock = new TestClock()
  const environment: Environment = { ...systemEnvironment, clock }
  const bench = await makeBench({ environment, ...options, profileText })
  const order = async (more: Partial<Order>) => {
    const common = { profile: bench.profile, initiator: mgmt, key: newKey(), ifRunning: 'refuse' } as const
    const { id } = await bench.orders.order({ kind: 'prune', ...common, ...more })
    return bench.orders.ended(id)
  }
  const history = () => {
    const found = bench.ledger.repository(bench.profile, 1)
    if (found === null) throw new Error('no repository')
    return found
  }
  return Object.assign(bench, {
    clock,
    async backUp(kibibytes = 512, from = 0) {
      clock.time += day
      await using image = await open(path.join(bench.machine, 'work', 'private.img'), 'r+')
      await image.write(systemEnvironment.entropy.bytes(kibibytes * 1024), 0, kibibytes * 1024, from * 1024)
      const job = await order({ kind: 'backup' })
      if (job.state !== 'done') throw new Error(`the backup ended as ${job.error?.code}`)
      return job
    },
    prune: (more: Partial<Order> = {}) => order({ kind: 'prune', ...more }),
    history,
    check: (readData = true) => checkOf(bench.storage, history(), readData),
  })
}

async function checkOf(
  store: MemoryStore,
  history: RepositoryHistory,
  readData: boolean,
): Promise<CheckReport> {
  using passphrase = Secret.take(utf8(passphraseText))
  const { keyFile, config, snapshots, indexSets } = history
  using repository = await openRepository({
    passphrase,
    keyFile: store.body(objectName('keys', keyFile.id)),
    config: store.body(parseObjectName('config')),
    pinned: { keyFile: keyFile.id, config: config.id },
  })
  const expected = { pinned: { keyFile, config }, snapshots, indexSets }
  return await checkRepository(repository, store, expected, { readData }, () => {}, never)
}

/** The storage as files, for stock restic. */
export class StockRestic implements AsyncDisposable {
  readonly directory: string

  private constructor(directory: string) {
    this.directory = directory
  }

  static async on(store: MemoryStore): Promise<StockRestic> {
    const directory = await mkdtemp(path.join(tmpdir(), 'stock-restic-'))
    await writeFile(path.join(directory, 'passphrase'), passphraseText, { mode: 0o600 })
    for (const kind of ['data', 'index', 'keys', 'locks', 'snapshots'])
      await mkdir(path.join(directory, 'repository', kind), { recursive: true })
    for (const [name, body] of store.objects) {
      const [kind, id = ''] = name.split('/')
      const place = kind === 'data' ? `data/${id.slice(0, 2)}/${id}` : name
      const file = path.join(directory, 'repository', place)
      await mkdir(path.dirname(file), { recursive: true })
      await writeFile(file, body)
    }
    return new StockRestic(directory)
  }

  async run(...command: readonly string[]): Promise<string> {
    const { stdout } = await run(
      'restic',
      ['--repo', path.join(this.directory, 'repository'), '--no-cache', ...command],
      { env: { PATH: process.env.PATH, RESTIC_PASSWORD_FILE: path.join(this.directory, 'passphrase') } },
    )
    return stdout
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true, force: true })
  }
}
