import { appendFile, readdir } from 'node:fs/promises'
import path from 'node:path'
import type { Duplex } from 'node:stream'
import { utf8 } from '../../src/base/bytes.ts'
import { systemClock, systemEntropy, systemEnvironment } from '../../src/base/environment.ts'
import { silentLog } from '../../src/base/log.ts'
import { parseIdempotencyKey, parseJobId, parseVmName, repositoryOf } from '../../src/base/names.ts'
import { Secret } from '../../src/base/secret.ts'
import { LocalRestores } from '../../src/host/local/restores.ts'
import type { Sandboxes } from '../../src/host/sandboxes.ts'
import type { RepositoryHistory } from '../../src/ledger/repository-history.ts'
import type { Examination, Examiner } from '../../src/repository/examination.ts'
import { sandboxedExaminer } from '../../src/restore/examine.ts'
import { workInside } from '../../src/restore/inside/work.ts'
import type { ObjectStore } from '../../src/storage/object-store.ts'
import { copyingPair } from '../support/copying-pair.ts'
import { type EngineBench, mgmt, passphraseText } from '../support/engine.ts'
import { MemoryStore } from '../support/memory-store.ts'
import { discard, scratch } from '../support/scratch.ts'

const job = parseJobId('20261124T031500Z-1f2e3d4c')
export const never = new AbortController().signal
export const silent = () => {}

/** Backs up once more, after `image` has grown. */
export async function backUp(bench: EngineBench, image?: string): Promise<void> {
  if (image !== undefined) await appendFile(path.join(bench.machine, image), Buffer.alloc(300_000, image))
  const key = parseIdempotencyKey(`key-${systemEntropy.bytes(8).toString().replaceAll(',', '.')}`)
  const order = { kind: 'backup', profile: bench.profile, initiator: mgmt, key, ifRunning: 'refuse' } as const
  const { state } = await bench.orders.ended((await bench.orders.order(order)).id)
  if (state !== 'done') throw new Error(`the backup ended as ${state}`)
}

export function historyOf(bench: EngineBench): RepositoryHistory {
  const history = bench.ledger.repository(bench.profile, 1)
  if (history === null) throw new Error('no repository')
  return history
}

/** As a restore sees it now. */
export function examinationOf(bench: EngineBench): Examination {
  const history = historyOf(bench)
  return {
    job,
    profile: bench.profile,
    repository: repositoryOf(bench.profile, 1),
    storageVm: parseVmName('store'),
    history: { ...history },
    passphrase: Secret.take(utf8(passphraseText)),
  }
}

export function copyOf(store: MemoryStore): MemoryStore {
  const copy = new MemoryStore()
  for (const [name, body] of store.objects) copy.objects.set(name, Uint8Array.from(body))
  return copy
}

/** What is inside: works on the other end of the channel. */
export type Inside = (channel: Duplex) => Promise<void>

/** The real inside, on this storage. */
export function honest(store: ObjectStore): Inside {
  const opened = {
    put: store.put.bind(store),
    get: store.get.bind(store),
    head: store.head.bind(store),
    list: store.list.bind(store),
    [Symbol.asyncDispose]: async () => {},
  }
  return async channel => {
    const directory = scratch('sandbox')
    const tablePath = path.join(directory, 'blobs')
    const storage = async () => opened
    await workInside({ channel, storage, ...systemEnvironment, tablePath, log: silentLog }).finally(() =>
      discard(directory),
    )
  }
}

export interface Room extends AsyncDisposable {
  readonly examiner: Examiner
  /** Where restored volumes go. */
  readonly target: string
  /** In the order in which it happened. */
  readonly events: string[]
  /** What was handed to the channel, as the memory that dom0 used for it. */
  readonly handed: Uint8Array[]
  /** The files that are visible, by their paths below `target`. */
  files(): Promise<readonly string[]>
  /** Working files that are left, by their full paths. */
  unfinished(): Promise<readonly string[]>
}

/** The real examiner around a sandbox of the test's own. */
export async function makeRoom(inside: Inside): Promise<Room> {
  const parent = scratch('restore')
  const target = path.join(parent, job)
  const restores = await LocalRestores.open({ directory: parent, clock: systemClock, log: silentLog })
  const events: string[] = []
  const handed: Uint8Array[] = []
  const sandboxes: Sandboxes = {
    async start() {
      events.push('sandbox')
      const [channel, there] = copyingPair()
      const write = channel.write.bind(channel) as (...args: readonly unknown[]) => boolean
      channel.write = (...args: readonly unknown[]) => {
        handed.push(args[0] as Uint8Array)
        return write(...args)
      }
      there.on('error', () => {})
      const ended = inside(there).then(
        () => 0,
        () => {
          there.destroy()
          return 1
        },
      )
      return {
        vm: parseVmName('disp1'),
        channel,
        ended,
        async [Symbol.asyncDispose]() {
          channel.destroy()
          there.destroy()
          events.push('sandbox destroyed')
        },
      }
    },
  }
  const examiner = sandboxedExaminer({
    sandboxes,
    async grant() {
      events.push('grant')
      return {
        capability: '0'.repeat(32),
        async [Symbol.asyncDispose]() {
          events.push('grant revoked')
        },
      }
    },
    sink: ({ job, snapshot, choice }) =>
      restores.begin({ job, snapshot, resumable: choice.range === null, reuse: choice.reuse }),
    requireRoom: async () => {},
    limits: { memoryBytesMax: 1, millisecondsMax: 1 },
    log: silentLog,
  })
  return {
    examiner,
    target,
    events,
    handed,
    files: async () =>
      (await filesBelow(parent))
        .filter(file => !path.relative(parent, file).startsWith('.restore-'))
        .map(file => path.relative(target, file)),
    unfinished: async () =>
      (await filesBelow(parent)).filter(file => path.relative(parent, file).startsWith('.restore-')),
    [Symbol.asyncDispose]: () => discard(parent),
  }
}

async function filesBelow(directory: string): Promise<readonly string[]> {
  return (await readdir(directory, { recursive: true, withFileTypes: true }))
    .filter(entry => entry.isFile())
    .map(entry => path.join(entry.parentPath, entry.name))
    .sort()
}

export const cleanedUp = ['grant', 'sandbox', 'sandbox destroyed', 'grant revoked']
