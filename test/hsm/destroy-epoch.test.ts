import { execFileSync } from 'node:child_process'
import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { duplexPair } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { silentLog } from '../../src/base/log.ts'
import { parseRepositoryName, parseVmName } from '../../src/base/names.ts'
import { newEpoch, rewrap } from '../../src/hsm/commands.ts'
import { destroyEpoch } from '../../src/hsm/destroy-epoch.ts'
import { openWithRecoveryKey } from '../../src/hsm/envelope.ts'
import type { Entry } from '../../src/ledger/entry.ts'
import type { Ledger } from '../../src/ledger/log.ts'
import { readPage } from '../../src/ledger/page.ts'
import type { Transport } from '../../src/qrexec/call.ts'
import { epochDestroyed } from '../../src/qrexec/calls/epochs.ts'
import { type LedgerPage, readLedger } from '../../src/qrexec/calls/ledger.ts'
import { encodeDescriptor } from '../../src/qrexec/framing.ts'
import { createServer, respond } from '../../src/qrexec/server.ts'
import { forgetEntry, repositoryEntry, snapshotEntry } from '../ledger/support.ts'
import { codeOf, countingEntropy, never } from './support.ts'
import { profile, World } from './world.ts'

/* The end of epoch 1 of a profile that has epoch 2: what has to be so before, and every way to be interrupted. */

let world: World
const told: number[] = []
let dom0Answers = true
/** What dom0 shows of its ledger. */
let page: (ledger: Ledger, from: number) => Promise<LedgerPage>
beforeEach(async () => {
  world = await World.start()
  told.length = 0
  dom0Answers = true
  page = readPage
  const { epoch, envelope } = world.binding
  const made = await newEpoch(ports(), profile, [world.recovery.recipient.text], never)
  world.binding = {
    ...world.binding,
    epoch: made.epoch,
    envelope: made.digest,
    earlier: [{ epoch, envelope }],
  }
  await world.ledger.append([
    { ...repositoryEntry(), profile, repository },
    { ...snapshotEntry('1'), profile, repository },
  ])
})
afterEach(() => world.stop())

const repository = parseRepositoryName('nightly.e1')
const ports = () => ({ envelopes: world.store.envelopes, token: world.token, entropy: countingEntropy(21) })
const forget = () =>
  world.ledger.append([{ ...forgetEntry('1'), profile, repository }] satisfies readonly Entry[])
const files = () => readdirSync(path.dirname(world.envelopeFile)).sort()

const toDom0: Transport = {
  async open(service, argument) {
    const calls = createServer(
      {
        [readLedger.service]: respond(readLedger, ({ from }) => page(world.ledger, from)),
        ...(dom0Answers
          ? {
              [epochDestroyed.service]: respond(epochDestroyed, async ({ epoch }) => {
                told.push(epoch)
                return { entry: 7 }
              }),
            }
          : {}),
      },
      { log: silentLog },
    )
    const [here, there] = duplexPair()
    calls.accept(there)
    here.write(encodeDescriptor({ service, argument, source: parseVmName('sys-hsm') }))
    return here
  },
}

function destroy(epoch = 1, transport: Transport | null = toDom0) {
  const { store, releaser, clock } = world
  const { configuration, ledger } = world.releaserPorts
  return destroyEpoch(
    { store, configuration, ledger, clock, log: silentLog, releaser, transport },
    { profile, epoch },
    never,
  )
}

describe('an epoch is not destroyed', () => {
  it('while it is the sealed one, or there is none, or no way to dom0', async () => {
    await forget()
    expect(await codeOf(() => destroy(2))).toBe('HSM_EPOCH_IN_USE')
    expect(await codeOf(() => destroy(3))).toBe('HSM_ENVELOPE_MISSING')
    expect(await codeOf(() => destroy(1, null))).toBe('HSM_DOM0_UNREACHABLE')
    expect(files()).toEqual(['nightly.e1.age', 'nightly.e2.age'])
  })

  it('while the ledger has a snapshot of it', async () => {
    expect(await codeOf(() => destroy())).toBe('HSM_EPOCH_IN_USE')
    expect(await world.release({ epoch: 1, purpose: 'drill' })).toHaveLength(43)
  })

  it('by a ledger that dom0 has made up', async () => {
    page = async (ledger, from) => {
      const honest = await readPage(ledger, from)
      return {
        ...honest,
        entries: honest.entries.filter(bytes => !Buffer.from(bytes).includes('"snapshot"')),
      }
    }
    expect(await codeOf(() => destroy())).toBe('HSM_REFUSED_LEDGER')
    // Another one by the same key, in which all was forgotten: this VM has seen the real one.
    page = readPage
    await world.remote().publish(never)
    const real = world.ledger
    world.ledger = await world.newLedger('fork')
    for (let entry = 0; entry < real.size; entry++) await world.request()
    expect(await codeOf(() => destroy())).toBe('HSM_REFUSED_LEDGER')
    expect(files()).toEqual(['nightly.e1.age', 'nightly.e2.age'])
    expect(told).toEqual([])
  })
})

describe('an epoch of which nothing is left', () => {
  it('is destroyed in every revision, overwritten, and dom0 is told', async () => {
    await rewrap(
      { ...ports(), open: envelope => openWithRecoveryKey(envelope, world.recovery.identity) },
      { profile, epoch: 1 },
      [world.recovery.recipient.text],
      never,
    )
    // The very bytes on the disk, under another name.
    const same = path.join(world.directory, 'same')
    linkSync(world.envelopeFile, same)
    await forget()
    expect(await destroy()).toEqual({ envelopes: 2, entry: 7 })
    expect(files()).toEqual(['nightly.e1.destroyed', 'nightly.e2.age'])
    expect(new Set(readFileSync(same))).toEqual(new Set([0]))
    expect(told).toEqual([1])
    expect(await codeOf(() => world.release({ epoch: 1, purpose: 'drill' }))).toBe('HSM_EPOCH_DESTROYED')
    expect(await world.release({ epoch: 2 })).toHaveLength(43)
    const next = await newEpoch(ports(), profile, [world.recovery.recipient.text], never)
    expect(next.epoch).toBe(3)
  })

  it('is destroyed after a release that is under way, and not within it', async () => {
    await forget()
    const { token, releaser } = world
    const [keys, agree] = [token.publicKeys, token.agree]
    const between = releaser.between.bind(releaser)
    const isHeld = Promise.withResolvers<void>()
    const isFree = Promise.withResolvers<void>()
    const opened: (readonly string[])[] = []
    token.agree = (...given) => {
      opened.push(files())
      return agree.apply(token, given)
    }
    releaser.between = (signal, work) => {
      isFree.resolve()
      return between(signal, work)
    }
    // While the whole ledger is read, a release has come as far as the token.
    let release: Promise<string> | null = null
    page = async (ledger, from) => {
      const answer = await readPage(ledger, from)
      if (world.store.witness === null || release !== null) return answer
      token.publicKeys = async signal => {
        isHeld.resolve()
        await isFree.promise
        return await keys.call(token, signal)
      }
      release = world.release({ epoch: 1, purpose: 'drill' })
      await isHeld.promise
      return answer
    }
    expect(await destroy()).toEqual({ envelopes: 1, entry: 7 })
    expect(await release).toHaveLength(43)
    expect(opened).toEqual([['nightly.e1.age', 'nightly.e2.age']])
  })

  it('stays destroyed when dom0 does not record it, and is recorded by the next call', async () => {
    await forget()
    dom0Answers = false
    expect(await codeOf(() => destroy())).toBe('HSM_EPOCH_UNRECORDED')
    expect(files()).toEqual(['nightly.e1.destroyed', 'nightly.e2.age'])
    dom0Answers = true
    expect(await destroy()).toEqual({ envelopes: 0, entry: 7 })
  })

  it('is destroyed to the end at the next start when it was interrupted, also where a copy is put back', async () => {
    const copy = readFileSync(world.envelopeFile)
    // Of a command that died while it made the envelope.
    writeFileSync(`${world.envelopeFile}.0123456789abcdef.new`, copy)
    writeFileSync(path.join(path.dirname(world.envelopeFile), 'nightly.e1.destroyed'), '{}\n')
    expect(await codeOf(() => world.release({ epoch: 1, purpose: 'drill' }))).toBe('HSM_EPOCH_DESTROYED')
    await world.startHsm()
    expect(files()).toEqual(['nightly.e1.destroyed', 'nightly.e2.age'])
  })

  it('does not keep the service from starting, nor writes elsewhere, whatever is put in the place of an envelope', async () => {
    const e2 = path.join(path.dirname(world.envelopeFile), 'nightly.e2.age')
    const other = readFileSync(e2)
    writeFileSync(path.join(path.dirname(world.envelopeFile), 'nightly.e1.destroyed'), '{}\n')
    const puts: readonly (() => void)[] = [
      () => symlinkSync(e2, world.envelopeFile),
      () => mkdirSync(path.join(world.envelopeFile, 'within'), { recursive: true }),
      () => execFileSync('mkfifo', [world.envelopeFile]),
    ]
    for (const put of puts) {
      await world.stopHsm()
      rmSync(world.envelopeFile, { force: true })
      put()
      await world.startHsm()
      expect(files()).toEqual(['nightly.e1.destroyed', 'nightly.e2.age'])
      expect(readFileSync(e2)).toEqual(other)
    }
  })
})
