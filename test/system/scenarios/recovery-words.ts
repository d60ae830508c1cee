import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { sha256OfFile } from '../../../scripts/quickstart/images.ts'
import { root } from '../../../scripts/quickstart/provision.ts'
import { serviceVms } from '../../../src/main/local-home.ts'
import { atTerminal } from '../../support/terminal.ts'
import { runToEnd, strongroom } from '../strongroom.ts'
import { LocalSystem } from '../system.ts'
import { must, type Scenario } from './scenario.ts'
import { endOf, sealToken } from './token.ts'

/** One token after another is destroyed; what was backed up is restored each time, the last time from words on paper. */
export const recoveryWords: Scenario = {
  summary:
    'two tokens are destroyed, and the words of two of three people restore every byte, with stock restic',
  async run(say) {
    await using system = await LocalSystem.start({ images: { work: 32 }, fillMiB: 1, say })
    const before = await system.digests()
    const { outcome } = await system.backup()
    must(outcome?.snapshot !== undefined, 'no snapshot to begin with')
    const { snapshot } = outcome

    must((await restored(system, snapshot)) === before.work, 'the first token restores other bytes')
    say('the first token restores, byte for byte')

    const { shares, recipient } = await system.command<{ shares: readonly string[]; recipient: string }>(
      ...['hsm', 'recovery-key', 'new', '--shares', '3', '--threshold', '2'],
    )
    const second = await secondToken(system)
    const { digest, envelope, ...counts } = await hsm<Rewrapped>(
      system,
      ...['rewrap', system.profile, '--recipient', recipient, '--recipient', second.recipient],
    )
    must(
      counts.before.tokens === 1 && counts.recipients.tokens === 2 && counts.recipients.recoveryKeys === 1,
      `the envelope is for ${JSON.stringify(counts)}`,
    )
    say('the same passphrase is in an envelope for two tokens and a key in three shares')

    const tokens = path.join(system.home.home(serviceVms.hsm), 'tokens')
    await rename(tokens, path.join(system.home.directory, 'destroyed-1'))
    await rename(second.tokens, tokens)
    await sealToken(system, { envelope: digest, witnessKey: second.witnessKey })
    await system.restartHost()
    must((await endOf(system, 'backup')) === 'done', 'no backup with the second token')
    must((await restored(system, snapshot)) === before.work, 'the second token restores other bytes')
    say('the first token is destroyed: with the second one backups go on, and the same snapshot restores')

    await rename(tokens, path.join(system.home.directory, 'destroyed-2'))
    await mkdir(tokens, { mode: 0o700 })
    const settings = system.home.settings(serviceVms.hsm)
    const lost = await strongroom(['hsm', 'doctor', '--settings', settings])
    must(lost.stderr.includes('HSM_TOKEN_MISSING'), `without any token: ${lost.code} ${lost.stderr}`)
    say('the second token is destroyed too')

    const passphrase = await fromWords(envelope, shares)
    say('two of three people type their words, 33 each: the passphrase is there')
    const target = path.join(system.home.directory, 'rescued')
    must((await rescued(system, passphrase, snapshot, target)) === before.work, 'other bytes came back')
    say('stock restic restores with it, byte for byte')
  },
}

interface Rewrapped {
  readonly digest: string
  readonly envelope: string
  readonly before: { readonly tokens: number; readonly recoveryKeys: number }
  readonly recipients: { readonly tokens: number; readonly recoveryKeys: number }
}

function hsm<T>(system: LocalSystem, ...words: readonly string[]): Promise<T> {
  return system.command<T>('hsm', ...words, '--settings', system.home.settings(serviceVms.hsm))
}

/** A token beside the first one, with the same PIN and label, in a drawer. */
async function secondToken({ home, command }: LocalSystem) {
  const drawer = path.join(home.directory, 'drawer')
  await mkdir(drawer, { mode: 0o700 })
  const own = JSON.parse(await readFile(home.settings(serviceVms.hsm), 'utf8')) as object
  const settings = path.join(drawer, 'settings.json')
  const softhsmConfiguration = path.join(drawer, 'softhsm2.conf')
  await writeFile(settings, JSON.stringify({ ...own, softhsmConfiguration }))
  const keys = await command<{ recipient: string; witnessKey: string }>('hsm', 'init', '--settings', settings)
  return { ...keys, tokens: path.join(drawer, 'tokens') }
}

/** SHA-256 of what the snapshot restores to by order. */
async function restored(system: LocalSystem, snapshot: string): Promise<string> {
  const { id } = await system.api.order({ profile: system.profile, kind: 'restore', snapshot })
  const job = await system.api.ended(id)
  must(job.state === 'done', `no restore: ${job.error?.message}`)
  return await sha256OfFile(system.restored(job, 'work'))
}

/** The first share is not enough; with the third one it is. */
async function fromWords(envelope: string, shares: readonly string[]): Promise<string> {
  const [first = '', , third = ''] = shares
  const one = path.join(path.dirname(envelope), 'one.txt')
  await writeFile(one, first)
  const short = await strongroom(['hsm', 'recover', envelope, '--words', one])
  must(
    short.code === 2 && short.stdout === '' && short.stderr.includes('HSM_SHARES_SHORT'),
    `one share alone: ${short.code} ${short.stderr}`,
  )
  const { code, shown } = await atTerminal(
    [path.join(root, 'bin/strongroom'), 'hsm', 'recover', envelope],
    [
      { after: /share 1, word 1: /, type: `${first}\r` },
      { after: /share 2, word 1: /, type: `${third.toUpperCase()}\r` },
    ],
  )
  must(code === 0, `words ended with ${code}: ${shown}`)
  return shown.trimEnd().split(/\r?\n/).at(-1) ?? ''
}

async function rescued(
  system: LocalSystem,
  passphrase: string,
  snapshot: string,
  target: string,
): Promise<string> {
  const password = path.join(system.home.directory, 'passphrase')
  await writeFile(password, passphrase, { mode: 0o600 })
  const { repository } = system.provisioned
  const { code, stderr } = await runToEnd('restic', [
    ...['-r', repository, '--no-lock', '--no-cache', '--password-file', password],
    ...['restore', snapshot, '--target', target],
  ])
  must(code === 0, `restic: ${stderr}`)
  return await sha256OfFile(path.join(target, 'volumes/work/private.img'))
}
