import type { Clock } from '../../src/base/environment.ts'
import { parseDigest, parseJobId, parseProfileName, parseRepositoryName } from '../../src/base/names.ts'
import { parseReadChoice } from '../../src/base/read-choice.ts'
import { parseSlotSet } from '../../src/base/slots.ts'
import { generateEd25519, signEd25519 } from '../../src/crypto/signing.ts'
import type { Entry, EntryOf } from '../../src/ledger/entry.ts'
import type { LedgerOptions } from '../../src/ledger/log.ts'
import { verifierKey } from '../../src/ledger/note.ts'
import type { Signer } from '../../src/ledger/signing.ts'

export { codeOf } from '../support/code-of.ts'

export const origin = 'strongroom.example/dom0'
export const start = new Date('2026-11-24T03:15:00Z')

export const clock: Clock = { now: () => start, monotonic: () => 0, sleep: () => Promise.resolve() }

/** A key that is the same in every run. */
export function testSigner(seed: number): Signer {
  const { privateKey, publicKey } = generateEd25519({ bytes: length => new Uint8Array(length).fill(seed) })
  return { publicKey, sign: message => Promise.resolve(signEd25519(privateKey, message)) }
}

export const logSigner = testSigner(1)
export const logKey = verifierKey(origin, 'ed25519', logSigner.publicKey)
export const hsm = { name: 'strongroom.example/hsm', signer: testSigner(2) }
export const management = { name: 'strongroom.example/management', signer: testSigner(3) }
export const hsmKey = verifierKey(hsm.name, 'cosignature/v1', hsm.signer.publicKey)
export const managementKey = verifierKey(management.name, 'cosignature/v1', management.signer.publicKey)

export const options: LedgerOptions = { origin, signer: logSigner, clock, witnesses: [hsmKey, managementKey] }

export const profile = parseProfileName('daily')
export const job = parseJobId('20261124T031500Z-1f2e3d4c')
const digestOf = (digit: string) => parseDigest(digit.repeat(64))

export function jobEntry(number: number): EntryOf<'job'> {
  const id = parseJobId(`20261124T031500Z-${number.toString(16).padStart(8, '0')}`)
  return { type: 'job', time: start, job: id, profile, kind: 'backup', result: 'done', code: null }
}

export function jobEntries(count: number, first = 0): readonly Entry[] {
  return Array.from({ length: count }, (_, at) => jobEntry(first + at))
}

export function repositoryEntry(epoch = 1): EntryOf<'repository'> {
  return {
    type: 'repository',
    time: start,
    job,
    profile,
    repository: parseRepositoryName(`daily-${epoch}`),
    epoch,
    keyFile: { id: digestOf('a'), bytes: 448 },
    config: { id: digestOf('b'), bytes: 155 },
  }
}

export function snapshotEntry(digit: string, epoch = 1): EntryOf<'snapshot'> {
  return {
    type: 'snapshot',
    time: start,
    job,
    profile,
    repository: parseRepositoryName(`daily-${epoch}`),
    epoch,
    snapshot: { id: digestOf(digit), bytes: 300 },
    snapshotId: digestOf(digit) as unknown as EntryOf<'snapshot'>['snapshotId'],
    manifest: digestOf('c'),
    index: [{ id: digestOf('d'), bytes: 1000 }],
    packs: { count: 2, bytes: 33_000_000, root: digestOf('e') },
    volumes: 3,
    bytes: 1_000_000_000,
    bytesStored: 33_000_000,
  }
}

/** A check that has read every slot, of the first `entries` entries. */
export function checkedEntry(entries: number, more: Partial<EntryOf<'checked'>> = {}): EntryOf<'checked'> {
  return {
    type: 'checked',
    time: start,
    job,
    profile,
    repository: parseRepositoryName('daily-1'),
    epoch: 1,
    read: parseReadChoice('30d'),
    began: start,
    entries,
    slotCount: 256,
    slots: parseSlotSet('f'.repeat(64)),
    packs: { count: 2, bytes: 33_000_000, root: digestOf('e') },
    code: null,
    ...more,
  }
}

const noPacks = { count: 0, bytes: 0, root: digestOf('0') }
const idOf = (digit: string) => digestOf(digit) as unknown as EntryOf<'snapshot'>['snapshotId']

export function forgetEntry(...digits: readonly string[]): EntryOf<'forget'> {
  const { time, repository, epoch } = snapshotEntry('1')
  const common = { time, job, profile, repository, epoch, configuration: digestOf('f') }
  return { type: 'forget', ...common, snapshots: digits.map(idOf) }
}

/** `index`: the first digits of the ids of the index objects that take the place of those of `replaces`. */
export function pruneEntry(replaces: readonly number[], index: readonly string[]): EntryOf<'prune'> {
  const { time, repository, epoch } = snapshotEntry('1')
  const refs = index.map(digit => ({ id: digestOf(digit), bytes: 500 }))
  const packs = { packs: noPacks, added: noPacks, removed: noPacks, rewritten: noPacks }
  return { type: 'prune', time, job, profile, repository, epoch, replaces, index: refs, ...packs }
}

export function holdEntry(digit: string, until: string): EntryOf<'hold'> {
  const { time, epoch } = snapshotEntry('1')
  const initiator = 'mgmt' as EntryOf<'hold'>['initiator']
  const common = { time, profile, epoch, snapshotId: idOf(digit), initiator, configuration: digestOf('f') }
  return { type: 'hold', ...common, until: new Date(until) }
}

export function holdEndEntry(digit: string): EntryOf<'hold-end'> {
  const { until: _, ...common } = holdEntry(digit, '2027-01-01T00:00:00Z')
  return { ...common, type: 'hold-end' }
}

export async function collect<T>(items: AsyncIterable<T>): Promise<readonly T[]> {
  const list: T[] = []
  for await (const item of items) list.push(item)
  return list
}
