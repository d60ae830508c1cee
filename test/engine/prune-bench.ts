import { open } from 'node:fs/promises'
import path from 'node:path'
import { expect } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { type Environment, systemEnvironment } from '../../src/base/environment.ts'
import { Secret } from '../../src/base/secret.ts'
import type { Order } from '../../src/engine/order.ts'
import type { RepositoryHistory } from '../../src/ledger/repository-history.ts'
import type { Job } from '../../src/qrexec/calls/orders.ts'
import { checkRepository } from '../../src/repository/check.ts'
import type { CheckReport } from '../../src/repository/check-report.ts'
import { readEverything, readNothing } from '../../src/repository/read-cycle.ts'
import { openRepository } from '../../src/repository/repository.ts'
import { StorageError } from '../../src/storage/errors.ts'
import { objectName, parseObjectName } from '../../src/storage/object-store.ts'
import { tablePlace } from '../repository/fixtures.ts'
import { StockRestic } from '../repository/stock-restic.ts'
import {
  type BenchOptions,
  type EngineBench,
  passphraseText,
  run,
  testBench,
  testProfile,
} from '../support/engine.ts'
import type { MemoryStore } from '../support/memory-store.ts'
import { SteppedClock } from '../support/stepped-clock.ts'

const never = new AbortController().signal
const day = 24 * 3_600_000

export interface PruneBench extends EngineBench {
  readonly clock: SteppedClock
  /** A day later, with new noise in the image of `work`, KiB of it from KiB on. */
  backUp(kibibytes?: number, from?: number): Promise<Job>
  prune(more?: Partial<Order>): Promise<Job>
  history(): RepositoryHistory
  check(readData?: boolean): Promise<CheckReport>
}

export const profileWith = (retention: string, more = ''): string =>
  `${testProfile}strongroom:\n  retention: ${retention}\n${more}`

export async function pruneBench(profileText: string, options: BenchOptions = {}): Promise<PruneBench> {
  const clock = new SteppedClock('2026-03-02T12:00:00Z')
  const environment: Environment = { ...systemEnvironment, clock }
  const bench = await testBench({ environment, ...options, profileText })
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
      const job = await run(bench)
      if (job.state !== 'done') throw new Error(`the backup ended as ${job.error?.code}`)
      return job
    },
    prune: (more: Partial<Order> = {}) => run(bench, { kind: 'prune', ...more }),
    history,
    check: (readData = true) => checkOf(bench.storage, history(), readData),
  })
}

/** The storage takes nothing of this kind while `work` runs, which fails for it. */
export async function failingAt(one: PruneBench, kind: string, work: () => Promise<unknown>): Promise<void> {
  one.storage.faults.before = (operation, name) => {
    if (operation === 'put' && name.startsWith(`${kind}/`)) throw new StorageError('STORAGE_IO', 'planted')
  }
  await expect(work()).rejects.toThrow('STORAGE_IO')
  one.storage.faults = {}
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
  return await checkRepository(
    repository,
    store,
    expected,
    { reading: readData ? readEverything : readNothing, ...tablePlace() },
    () => {},
    never,
  )
}

/** Stock restic on a copy of the storage. */
export async function resticOn(store: MemoryStore) {
  const restic = await StockRestic.make('restic', passphraseText)
  const root = await restic.layOut(store, 'repository')
  return {
    directory: restic.directory,
    run: (...command: readonly string[]) => restic.run(root, ...command),
    [Symbol.asyncDispose]: () => restic[Symbol.asyncDispose](),
  }
}
