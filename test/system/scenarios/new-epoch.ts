import { copyFile, readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { sameBytes, useForADay } from '../../../scripts/quickstart/images.ts'
import { sealAndInstall, writeDraft } from '../../../scripts/quickstart/provision.ts'
import { fromBase64 } from '../../../src/base/bytes.ts'
import { type Entry, parseEntry } from '../../../src/ledger/entry.ts'
import { serviceVms } from '../../../src/main/local-home.ts'
import type { Job, SnapshotSummary } from '../../../src/qrexec/calls/orders.ts'
import { strongroom } from '../strongroom.ts'
import { LocalSystem } from '../system.ts'
import { must, type Scenario } from './scenario.ts'

interface NewEpoch {
  readonly epoch: number
  readonly digest: string
  readonly earlierEpochs: readonly object[]
}

/** A key is changed, and the one before is destroyed when nothing needs it any more. */
export const newEpoch: Scenario = {
  summary: 'a new key for new data; the old one reads until its snapshots are forgotten, and is destroyed',
  async run(say) {
    await using system = await LocalSystem.start({
      images: { work: 32 },
      fillMiB: 1,
      retention: '{ keep_last: 2 }',
      say,
    })
    const at = (name: string) => path.join(system.home.directory, name)
    await system.keepCopy(at('one'))
    const first = await system.backup()

    const made = await hsm<NewEpoch>(system, 'new-epoch', system.profile, '--recovery-key', at('e2.key'))
    must(made.epoch === 2 && made.earlierEpochs.length === 1, 'the new epoch does not name the one before')
    await sealEpoch(system, made)
    await useForADay(system.image('work'), 'two')
    await system.keepCopy(at('two'))
    const second = await system.backup()
    const listed = await snapshots(system)
    must(listed.map(({ epoch }) => epoch).join() === '1,2', 'the list does not name the epochs')
    say('epoch 2 is sealed; the second backup is in its repository, under its key')

    await expectRestored(system, first, at('one'))
    await expectRestored(system, second, at('two'))
    const check = await system.api.done({ profile: system.profile, kind: 'check', read: 'all' })
    must(check.outcome?.snapshots === 2, 'a check did not prove the snapshots of both')
    say('both restore byte for byte, each by its own key; one check proves both')

    const destroy = () => destroyEpoch(system)
    const inUse = await destroy()
    must(inUse.stderr.includes('HSM_EPOCH_IN_USE'), `destroyed while it was needed: ${inUse.stderr}`)
    const envelopes = path.join(system.home.home(serviceVms.hsm), 'envelopes')
    const envelope = path.join(envelopes, `${system.profile}.e1.age`)
    await copyFile(envelope, at('kept-aside.age'))
    say('epoch 1 is not destroyed while the ledger has a snapshot of it')

    await system.backup()
    const pruned = await system.api.done({ profile: system.profile, kind: 'prune' })
    must(pruned.outcome?.prune?.forgotten === 1, 'the prune did not forget the snapshot of epoch 1')
    must(
      (await readdir(path.join(system.provisioned.repository, 'snapshots'))).length === 0,
      'a snapshot of epoch 1 is in storage',
    )
    say('two snapshots are kept, whatever their epoch: that of epoch 1 is forgotten, its packs are removed')

    const done = await destroy()
    must(done.code === 0, `not destroyed: ${done.stderr}`)
    must(!(await readdir(envelopes)).includes(`${system.profile}.e1.age`), 'the envelope is still there')
    const recorded = (await entries(system)).filter(({ type }) => type === 'epoch-destroyed')
    must(recorded.length === 1, `the ledger says ${recorded.length} times that the epoch is destroyed`)
    const again = await destroy()
    must(again.code === 0 && (await entries(system)).length > 0, `once more: ${again.stderr}`)
    must(
      (await entries(system)).filter(({ type }) => type === 'epoch-destroyed').length === 1,
      'destroyed once more, recorded twice',
    )
    say(`destroyed, and in the ledger: ${JSON.stringify(recorded[0])}`)

    await copyFile(at('kept-aside.age'), envelope)
    const refused = await strongroom(['hsm', 'rewrap', system.profile, '--epoch', '1', ...settings(system)])
    must(
      refused.stderr.includes('HSM_EPOCH_DESTROYED'),
      `a copy that was put back is opened: ${refused.stderr}`,
    )
    await system.restartHost()
    must(
      !(await readdir(envelopes)).includes(`${system.profile}.e1.age`),
      'a copy of the envelope that was put back is kept',
    )
    say('a copy of the envelope that is put back opens nothing, and is gone at the next start')
    await expectRestored(system, second, at('two'))
    say('epoch 2 restores as before')
    const kept = await hsm<{ passphrase: string }>(
      system,
      'recover',
      at('kept-aside.age'),
      '--recovery-key',
      system.provisioned.recoveryKey,
    )
    must(kept.passphrase.length > 0, 'the recovery key does not open its copy')
    say('what remains is outside of this VM: with the recovery key, the copy kept aside still opens')
  },
}

function settings(system: LocalSystem): readonly string[] {
  return ['--settings', system.home.settings(serviceVms.hsm), '--json']
}

function hsm<T>(system: LocalSystem, ...words: readonly string[]): Promise<T> {
  return system.command<T>('hsm', ...words, '--settings', system.home.settings(serviceVms.hsm))
}

/** As a person does: inside the VM, behind its walls. */
function destroyEpoch({ home, profile }: LocalSystem) {
  const words = ['hsm', 'destroy-epoch', profile, '1', '--yes']
  return strongroom(['host', 'run', serviceVms.hsm, '--home', home.directory, '--', ...words])
}

async function sealEpoch(system: LocalSystem, { epoch, digest, earlierEpochs }: NewEpoch): Promise<void> {
  const { home, profile } = system
  const binding = JSON.parse(await readFile(path.join(home.seal, 'draft/hsm', `${profile}.json`), 'utf8'))
  const changed = { ...binding, epoch, envelope: digest, earlier_epochs: earlierEpochs }
  await writeDraft(home, `hsm/${profile}.json`, JSON.stringify(changed))
  await sealAndInstall(home)
  await system.restartHost()
}

async function snapshots({ api, profile }: LocalSystem): Promise<readonly SnapshotSummary[]> {
  return (
    await api.request<{ snapshots: readonly SnapshotSummary[] }>('GET', `/v1/profiles/${profile}/snapshots`)
  ).snapshots
}

async function expectRestored(system: LocalSystem, { outcome }: Job, copies: string): Promise<void> {
  const snapshot = outcome?.snapshot
  const job = await system.api.done({ profile: system.profile, kind: 'restore', snapshot })
  must(
    await sameBytes(path.join(copies, 'work.img'), system.restored(job, 'work')),
    `snapshot ${snapshot} restores to other bytes`,
  )
}

/** As the management VM passes them on. */
async function entries({ api }: LocalSystem): Promise<readonly Entry[]> {
  const page = await api.request<{ entries: string[] }>('GET', '/v1/ledger?from=0&count=500')
  return page.entries.map(bytes => parseEntry(fromBase64(bytes)))
}
