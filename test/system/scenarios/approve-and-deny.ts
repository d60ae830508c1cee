import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { install, root, writeDraft } from '../../../scripts/quickstart/provision.ts'
import { serviceVms } from '../../../src/main/local-home.ts'
import type { Job } from '../../../src/qrexec/calls/orders.ts'
import { atTerminal } from '../../support/terminal.ts'
import { LocalSystem } from '../system.ts'
import { must, type Scenario } from './scenario.ts'

const strongroom = path.join(root, 'bin/strongroom')

interface Pending {
  readonly code: string
  readonly profile: string
  readonly purpose: string
  readonly initiator: string
  readonly wantsPin: boolean
}

/** The user of the HSM VM is asked for restores, and for nothing else. */
export const approveAndDeny: Scenario = {
  summary:
    'nightly backups ask nobody; a restore waits for the user of the HSM VM, who says yes with the PIN, no, or nothing',
  async run(say) {
    await using system = await LocalSystem.start({ images: { work: 32 }, fillMiB: 1, say })
    await sealApproval(system)
    const hsm = (...words: readonly string[]) =>
      system.command<readonly Pending[]>('hsm', ...words, '--settings', system.home.settings(serviceVms.hsm))

    await system.backup()
    must((await hsm('pending')).length === 0, 'a backup was asked about')
    say('a backup is released without a question')

    const first = await ordered(system)
    const [shown] = await waiting(hsm)
    must(shown !== undefined, 'no release waits')
    must(shown.purpose === 'restore' && shown.initiator === 'mgmt', `it is shown as ${JSON.stringify(shown)}`)
    must(first.replaceAll('-', '').endsWith(shown.code.replace('-', '')), 'the orderer sees another code')
    say(
      `a restore waits: ${shown.purpose} of ${shown.profile} for ${shown.initiator}, code ${shown.code}; the orderer sees it in the job`,
    )
    must(shown.wantsPin, 'the restore does not want the PIN')
    const refusal = await hsm('approve', shown.code).catch((error: unknown) => String(error))
    must(String(refusal).includes('HSM_PIN_WANTED'), `a yes without the PIN: ${refusal}`)
    must((await hsm('pending')).length === 1, 'a yes without the PIN ended the question')
    await approvedWithPin(system, shown.code)
    say('a yes without the PIN is refused, HSM_PIN_WANTED, and the restore waits on; with the PIN it counts')
    const approved = await system.api.ended(first)
    must(approved.state === 'done', `an approved restore ended as ${approved.error?.message}`)
    say('approved: the restore is done')

    const second = await ordered(system)
    const [unwanted] = await waiting(hsm)
    must(unwanted !== undefined, 'no release waits')
    await hsm('deny', unwanted.code)
    const denied: Job = await system.api.ended(second)
    must(denied.error?.code === 'HSM_REFUSED_DENIED', `a denied restore ended as ${denied.error?.code}`)
    say('denied: the restore fails, HSM_REFUSED_DENIED, and the refusal is in the ledger')

    const third = await ordered(system)
    await waiting(hsm)
    await system.backup()
    say('while a restore waits, a backup goes on')
    await system.api.request('POST', `/v1/jobs/${third}/cancel`)
    const cancelled = await system.api.ended(third)
    must(cancelled.state === 'cancelled', `a cancelled restore ended as ${cancelled.state}`)
    say('what nobody answers can be cancelled by its orderer; left alone it is denied after ten minutes')
  },
}

async function sealApproval(system: LocalSystem): Promise<void> {
  const file = path.join(system.home.seal, 'draft/hsm', `${system.profile}.json`)
  const binding = JSON.parse(await readFile(file, 'utf8')) as object
  await writeDraft(
    system.home,
    `hsm/${system.profile}.json`,
    JSON.stringify({ ...binding, approve: 'restore', pin_again: 'restore' }),
  )
  const { update } = await system.command<{ update: string }>(
    'seal',
    'sign',
    '--dir',
    system.home.seal,
    '--yes',
  )
  await install(system.home, update)
  await system.restartHost()
}

/** At a terminal, where it is typed unseen: a wrong one first. */
async function approvedWithPin(system: LocalSystem, code: string): Promise<void> {
  const pin = (await readFile(path.join(system.home.home(serviceVms.hsm), 'pin'), 'utf8')).trim()
  const words = ['hsm', 'approve', code, '--settings', system.home.settings(serviceVms.hsm)]
  const type = (typed: string) =>
    atTerminal([strongroom, ...words], [{ after: /PIN of the token: /, type: `${typed}\r` }])
  const wrong = await type('00000000')
  must(wrong.code !== 0 && wrong.shown.includes('HSM_PIN_WRONG'), `a wrong PIN: ${wrong.shown}`)
  const right = await type(pin)
  must(right.code === 0 && right.shown.includes(`approved  ${code}`), `the right PIN: ${right.shown}`)
  must(!right.shown.includes(pin), 'the PIN was shown')
}

async function ordered(system: LocalSystem): Promise<string> {
  const { id } = await system.api.order({ profile: system.profile, kind: 'restore' })
  return id
}

async function waiting(hsm: (word: string) => Promise<readonly Pending[]>): Promise<readonly Pending[]> {
  for (let look = 0; look < 100; look++) {
    const found = await hsm('pending')
    if (found.length > 0) return found
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  return []
}
