import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { Duplex } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { KiB, MiB, utf8 } from '../../src/base/bytes.ts'
import {
  parseDigest,
  parseJobId,
  parseProfileName,
  parseSnapshotId,
  parseVmName,
  repositoryOf,
} from '../../src/base/names.ts'
import { StreamReader } from '../../src/base/reader.ts'
import { wholeSnapshot } from '../../src/base/restore-choice.ts'
import { Secret } from '../../src/base/secret.ts'
import type { RepositoryHistory } from '../../src/ledger/repository-history.ts'
import type { Examination } from '../../src/repository/examination.ts'
import { readEverything } from '../../src/repository/read-cycle.ts'
import { contentChunksMax, type FrameKind, frameKinds, readFrame } from '../../src/restore/protocol.ts'
import { volumeDigestOf } from '../repository/fixtures.ts'
import { cleanedUp, type Inside, makeRoom, never, type Room, silent } from './support.ts'

/* A sandbox that was taken over by what it parsed, and says whatever it likes. */

const volumeBytes = 40 * KiB
const chunkBytes = 16 * KiB
const content = Buffer.alloc(volumeBytes, 'content')
const sha256 = (bytes: Uint8Array) => parseDigest(createHash('sha256').update(bytes).digest('hex'))

const manifest = utf8(
  JSON.stringify({
    version: 2,
    salt: 'ab'.repeat(32),
    vms: [
      { name: 'work', volumes: [described('private', volumeBytes)] },
      { name: 'personal', volumes: [described('my_data', volumeBytes)] },
    ],
  }),
)

function described(name: string, bytes: number) {
  return { name, bytes, chunkBytes, digest: volumeDigestOf(content, chunkBytes) }
}

const profile = parseProfileName('nightly')
const job = parseJobId('20261124T031500Z-1f2e3d4c')
const repository = repositoryOf(profile, 1)
const snapshotId = parseSnapshotId('cd'.repeat(32))
const object = { id: parseDigest('ef'.repeat(32)), bytes: 100 }

const history: RepositoryHistory = {
  entry: 1,
  changed: 2,
  time: new Date(0),
  profile,
  epoch: 1,
  repository,
  keyFile: object,
  config: object,
  checks: [],
  drills: [],
  snapshots: [
    {
      type: 'snapshot',
      entry: 2,
      time: new Date(0),
      job,
      profile,
      repository,
      epoch: 1,
      snapshot: { id: parseDigest('cd'.repeat(32)), bytes: 100 },
      snapshotId,
      manifest: sha256(manifest),
      index: [object],
      packs: { count: 1, bytes: 100, root: object.id },
      volumes: 2,
      bytes: 2 * volumeBytes,
      bytesStored: 100,
    },
  ],
  forgotten: [],
  indexSets: [{ entry: 2, index: [object], packs: { count: 1, bytes: 100, root: object.id } }],
  holds: new Map(),
}

function examination(): Examination {
  const passphrase = Secret.take(utf8('a-passphrase'))
  return { job, profile, repository, storageVm: parseVmName('store'), history, passphrase }
}

/** A frame with no regard for any limit. */
function raw(code: number, payload: Uint8Array, length = payload.byteLength): Buffer {
  const header = Buffer.alloc(5)
  header.writeUInt32BE(length)
  header[4] = code
  return Buffer.concat([header, payload])
}
const frame = (kind: FrameKind, payload: Uint8Array = new Uint8Array(0)) =>
  raw(frameKinds[kind].code, payload)
const json = (kind: FrameKind, value: unknown) => frame(kind, utf8(JSON.stringify(value)))

function data(bytes: Uint8Array, offset: number | bigint): Buffer {
  const header = Buffer.alloc(8)
  header.writeBigUInt64BE(BigInt(offset))
  return frame('data', Buffer.concat([header, bytes]))
}
/** What the chunks of a volume are, as they are told before they are sent. */
function contentOf(bytes: Uint8Array): Buffer {
  const chunks = Math.ceil(bytes.byteLength / chunkBytes)
  const ids = Array.from({ length: chunks }, (_, chunk) =>
    createHash('sha256')
      .update(bytes.subarray(chunk * chunkBytes, (chunk + 1) * chunkBytes))
      .digest(),
  )
  return frame('content', Buffer.concat([Buffer.alloc(chunks, 1), ...ids]))
}
const begin = contentOf(content)
const end = frame('volume-end')
/** Of the one volume that is asked for, whichever it is: they hold the same. */
const volume = [begin, data(content, 0), end]
const verdict = (more: object = {}) =>
  json('verdict', { fault: null, objects: 0, snapshots: 1, bytes: 0, ignored: 0, proven: null, ...more })

/** Takes task and passphrase as it should, says this, and ends. */
function saying(...frames: readonly Uint8Array[]): Inside {
  return async channel => {
    await taken(channel)
    channel.end(Buffer.concat(frames))
  }
}

async function taken(channel: Duplex): Promise<StreamReader> {
  const reader = new StreamReader(channel)
  await readFrame(reader)
  await readFrame(reader)
  return reader
}

type Work = (room: Room) => Promise<unknown>
const restoring: Work = room => room.examiner.restore(examination(), snapshotId, wholeSnapshot, silent, never)
const checking: Work = async room => {
  const { fault, proven, outcome } = await room.examiner.check(examination(), readEverything, silent, never)
  if (fault !== null) throw fault
  return { ...outcome, proven }
}
const proven = (slots: string) => ({ slots, packs: { count: 1, bytes: 100, root: object.id } })
const provesAll = { proven: proven('f'.repeat(64)) }

async function outcomeOf(
  inside: Inside,
  work: Work,
): Promise<{ outcome: unknown; files: readonly string[] }> {
  await using room = await makeRoom(inside)
  const outcome = await work(room).catch(error => error)
  expect(room.events).toEqual(cleanedUp)
  for (const file of await room.unfinished()) expectRightChunks(await readFile(file))
  return { outcome, files: await room.files() }
}

/** What is left for another restore is right, as far as it goes. */
function expectRightChunks(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.byteLength; at += chunkBytes) {
    const chunk = bytes.subarray(at, at + chunkBytes)
    const right = Buffer.compare(chunk, content.subarray(at, at + chunkBytes)) === 0
    expect(right || chunk.every(byte => byte === 0)).toBe(true)
  }
}

describe('a restore from a sandbox that', () => {
  it('is honest succeeds', async () => {
    const { outcome, files } = await outcomeOf(
      saying(frame('manifest', manifest), ...volume, ...volume, verdict()),
      restoring,
    )
    expect(outcome).toMatchObject({ volumes: 2, bytes: 2 * volumeBytes })
    expect(files).toEqual(['personal/my_data.img', 'work/private.img'])
  })

  const other = utf8(
    Buffer.from(manifest)
      .toString()
      .replace(String(volumeBytes), String(volumeBytes + 1)),
  )
  const honestManifest = frame('manifest', manifest)
  const cases: readonly (readonly [string, string, readonly Uint8Array[]])[] = [
    ['says nothing', 'VERDICT_INVALID', []],
    ['ends inside a frame', 'VERDICT_INVALID', [honestManifest.subarray(0, 20)]],
    ['sends a frame of unknown kind', 'VERDICT_INVALID', [raw(99, new Uint8Array(0)), verdict()]],
    ['sends a task of its own', 'VERDICT_INVALID', [frame('task'), verdict()]],
    ['sends a passphrase', 'VERDICT_INVALID', [frame('passphrase', utf8('x')), verdict()]],
    [
      'announces a frame beyond its limit',
      'VERDICT_INVALID',
      [raw(frameKinds.data.code, utf8('x'), 0xffffffff)],
    ],
    ['sends a volume-end with content', 'VERDICT_INVALID', [raw(frameKinds['volume-end'].code, utf8('x'))]],
    ['sends another manifest than the ledger binds', 'RESTORE_DIGEST', [frame('manifest', other), verdict()]],
    ['sends the manifest twice', 'VERDICT_INVALID', [honestManifest, honestManifest]],
    ['sends a volume before the manifest', 'VERDICT_INVALID', [...volume, verdict()]],
    ['names a volume', 'VERDICT_INVALID', [honestManifest, json('volume', { vm: 'vault', volume: 'root' })]],
    ['asks for chunks', 'VERDICT_INVALID', [honestManifest, begin, frame('chunks', Uint8Array.of(0xe0))]],
    [
      'tells of another content than the manifest’s digest is of',
      'RESTORE_DIGEST',
      [honestManifest, contentOf(Buffer.alloc(volumeBytes, 'other'))],
    ],
    [
      'tells of fewer chunks than the volume has',
      'VERDICT_INVALID',
      [honestManifest, contentOf(content.subarray(0, 2 * chunkBytes))],
    ],
    [
      'tells of more chunks than the volume has',
      'VERDICT_INVALID',
      [honestManifest, contentOf(Buffer.alloc(volumeBytes + chunkBytes, 'content'))],
    ],
    [
      'tells of chunks that are neither zeros nor data',
      'VERDICT_INVALID',
      [honestManifest, frame('content', Uint8Array.of(0, 2, 0))],
    ],
    ['tells that all is zeros', 'RESTORE_DIGEST', [honestManifest, frame('content', new Uint8Array(3))]],
    ['tells the content twice', 'VERDICT_INVALID', [honestManifest, begin, begin]],
    [
      'tells more content than was asked for',
      'VERDICT_INVALID',
      [honestManifest, ...volume, ...volume, begin],
    ],
    ['sends data before it tells what they are', 'VERDICT_INVALID', [honestManifest, data(content, 0)]],
    [
      'sends data after the last volume',
      'VERDICT_INVALID',
      [honestManifest, ...volume, ...volume, data(content, 0)],
    ],
    ['ends a volume of which it told nothing', 'RESTORE_DIGEST', [honestManifest, end]],
    [
      'sends data without an offset',
      'VERDICT_INVALID',
      [honestManifest, begin, frame('data', utf8('1234567'))],
    ],
    [
      'sends data that begin within a chunk',
      'VERDICT_INVALID',
      [honestManifest, begin, data(content.subarray(9, chunkBytes), 9)],
    ],
    [
      'sends data that end within a chunk',
      'VERDICT_INVALID',
      [honestManifest, begin, data(content.subarray(0, chunkBytes + 9), 0)],
    ],
    [
      'sends the chunks of another place',
      'RESTORE_DIGEST',
      [
        honestManifest,
        begin,
        data(content.subarray(chunkBytes, 2 * chunkBytes), 0),
        data(content.subarray(0, chunkBytes), chunkBytes),
        data(content.subarray(2 * chunkBytes), 2 * chunkBytes),
        end,
      ],
    ],
    ['sends data twice', 'VERDICT_INVALID', [honestManifest, begin, data(content, 0), data(content, 0)]],
    ['sends data past the end', 'VERDICT_INVALID', [honestManifest, begin, data(content, 1)]],
    [
      'sends data at the end of numbers',
      'VERDICT_INVALID',
      [honestManifest, begin, data(content, 2n ** 64n - 1n)],
    ],
    [
      'sends wrong data',
      'RESTORE_DIGEST',
      [honestManifest, begin, data(Buffer.alloc(volumeBytes, 'other'), 0), end],
    ],
    [
      'leaves data out',
      'RESTORE_DIGEST',
      [honestManifest, begin, data(content.subarray(chunkBytes), chunkBytes), end],
    ],
    ['leaves all data out', 'RESTORE_DIGEST', [honestManifest, begin, end]],
    ['leaves a volume out', 'RESTORE_DIGEST', [honestManifest, ...volume, verdict()]],
    ['leaves all volumes out', 'RESTORE_DIGEST', [honestManifest, verdict()]],
    ['gives its verdict at once', 'RESTORE_DIGEST', [verdict()]],
    [
      'gives its verdict inside the last volume',
      'RESTORE_DIGEST',
      [honestManifest, ...volume, begin, data(content, 0), verdict()],
    ],
    [
      'tells dom0 how far dom0 has come',
      'VERDICT_INVALID',
      [json('progress', { bytesDone: 1, bytesTotal: 1 }), verdict()],
    ],
    ['ends without a verdict', 'VERDICT_INVALID', [honestManifest, ...volume, ...volume]],
    [
      'finds a fault after all',
      'RESTORE_DIGEST',
      [honestManifest, ...volume, ...volume, verdict({ fault: { code: 'RESTORE_DIGEST', message: 'x' } })],
    ],
    [
      'claims more snapshots than the one',
      'VERDICT_INVALID',
      [honestManifest, ...volume, ...volume, verdict({ snapshots: 2 })],
    ],
  ]
  it.each(cases)('%s ends as %s, with nothing in place', async (_, code, frames) => {
    const { outcome, files } = await outcomeOf(saying(...frames), restoring)
    expect(outcome).toMatchObject({ code, kind: 'integrity' })
    expect(files).toEqual([])
  })

  it('breaks off puts nothing in place', async () => {
    const breaking: Inside = async channel => {
      await taken(channel)
      channel.write(Buffer.concat([honestManifest, ...volume]), () => channel.destroy(new Error('planted')))
    }
    const { outcome, files } = await outcomeOf(breaking, restoring)
    expect(outcome).toMatchObject({ code: 'VERDICT_INVALID' })
    expect(files).toEqual([])
  })

  const silences: readonly (readonly [string, Inside])[] = [
    ['never answers', async channel => void (await taken(channel))],
    ['does not even listen', async () => {}],
    [
      'never stops talking',
      async channel => {
        channel.write(Buffer.concat([honestManifest, begin]))
        const nothing = data(new Uint8Array(0), 0)
        while (!channel.destroyed) {
          channel.write(nothing)
          await new Promise(setImmediate)
        }
      },
    ],
  ]
  it.each(silences)('%s is ended by an abort, with its reason', async (_, inside) => {
    const stop = new AbortController()
    const reason = new Error('cancelled')
    setTimeout(() => stop.abort(reason), 20)
    const work: Work = room =>
      room.examiner.restore(examination(), snapshotId, wholeSnapshot, silent, stop.signal)
    const { outcome, files } = await outcomeOf(inside, work)
    expect(outcome).toBe(reason)
    expect(files).toEqual([])
  })

  it('tells that a large volume is nothing but zeros is refused by its digest', async () => {
    const bytes = 64 * 1024 * MiB
    const vms = [{ name: 'work', volumes: [described('private', bytes)] }]
    const large = utf8(JSON.stringify({ version: 2, salt: 'ab'.repeat(32), vms }))
    const [entry] = history.snapshots
    if (entry === undefined) throw new Error('no snapshot')
    const bound = {
      ...examination(),
      history: { ...history, snapshots: [{ ...entry, manifest: sha256(large) }] },
    }
    const zeros = frame('content', new Uint8Array(contentChunksMax))
    const frames = bytes / chunkBytes / contentChunksMax
    const inside = saying(frame('manifest', large), ...Array.from({ length: frames }, () => zeros), end)
    const { outcome, files } = await outcomeOf(inside, room =>
      room.examiner.restore(bound, snapshotId, wholeSnapshot, silent, never),
    )
    expect(outcome).toMatchObject({ code: 'RESTORE_DIGEST' })
    expect(files).toEqual([])
  })

  it('sends its chunks in any order succeeds', async () => {
    const backwards = [2, 1, 0].map(chunk =>
      data(content.subarray(chunk * chunkBytes, (chunk + 1) * chunkBytes), chunk * chunkBytes),
    )
    const frames = [frame('manifest', manifest), begin, ...backwards, end, ...volume, verdict()]
    const { files } = await outcomeOf(saying(...frames), restoring)
    expect(files).toHaveLength(2)
  })
})

describe('a check by a sandbox that', () => {
  it('is honest succeeds', async () => {
    const { outcome } = await outcomeOf(saying(verdict({ objects: 4, ...provesAll })), checking)
    expect(outcome).toMatchObject({ objects: 4, snapshots: 1, ...provesAll })
  })

  const filler = (length: number) => ({ fault: { code: 'CHECK_FAILED', message: 'x'.repeat(length) } })
  const cases: readonly (readonly [string, string, readonly Uint8Array[]])[] = [
    [
      'sends a verdict of one byte too many',
      'VERDICT_INVALID',
      [raw(frameKinds.verdict.code, Buffer.alloc(64 * KiB + 1, ' '))],
    ],
    ['sends a verdict that is not JSON', 'VERDICT_INVALID', [frame('verdict', utf8('{'))]],
    [
      'sends a verdict with a field twice',
      'VERDICT_INVALID',
      [frame('verdict', utf8('{"fault":null,"fault":null}'))],
    ],
    ['sends a verdict with a field of its own', 'VERDICT_INVALID', [verdict({ extra: 1 })]],
    ['sends a message that is too long', 'VERDICT_INVALID', [verdict(filler(2001))]],
    ['sends volumes', 'VERDICT_INVALID', [frame('manifest', manifest), ...volume, verdict()]],
    ['proves more snapshots than there are', 'VERDICT_INVALID', [verdict({ snapshots: 2, ...provesAll })]],
    ['proves fewer snapshots than there are', 'VERDICT_INVALID', [verdict({ snapshots: 0, ...provesAll })]],
    ['does not say what it has read', 'VERDICT_INVALID', [verdict()]],
    [
      'has read less than it was to read',
      'VERDICT_INVALID',
      [verdict({ proven: proven(`${'f'.repeat(63)}e`) })],
    ],
    ['names slots that are none', 'VERDICT_INVALID', [verdict({ proven: proven('f'.repeat(65)) })]],
    [
      'reports an unknown fault',
      'CHECK_FAILED',
      [verdict({ fault: { code: 'EVERYTHING_FINE', message: 'x' } })],
    ],
  ]
  it.each(cases)('%s ends as %s', async (_, code, frames) => {
    const { outcome } = await outcomeOf(saying(...frames), checking)
    expect(outcome).toMatchObject({ code, kind: 'integrity' })
  })

  it('says anything in words is not repeated to whoever ordered the check', async () => {
    const fault = { code: 'CHECK_FAILED', message: 'the passphrase is hunter2' }
    const { outcome } = await outcomeOf(saying(verdict({ fault })), checking)
    expect(outcome).toMatchObject({ code: 'CHECK_FAILED' })
    expect((outcome as Error).message).not.toContain('hunter2')
    const counted = await outcomeOf(saying(verdict({ ignored: 3, ...provesAll })), checking)
    expect(counted.outcome).toMatchObject({ warnings: ['3 objects in storage belong to no snapshot'] })
  })
})

it('a sandbox that does not start leaves no grant', async () => {
  await using room = await makeRoom(async () => {})
  const stop = new AbortController()
  stop.abort(new Error('cancelled before'))
  await expect(room.examiner.check(examination(), readEverything, silent, stop.signal)).rejects.toThrow(
    'cancelled before',
  )
  expect(room.events.filter(event => event.startsWith('grant'))).toEqual(['grant', 'grant revoked'])
})
