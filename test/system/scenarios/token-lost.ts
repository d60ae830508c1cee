import { execFileSync } from 'node:child_process'
import { mkdir, readdir, rename } from 'node:fs/promises'
import path from 'node:path'
import { sha256OfFile } from '../../../scripts/quickstart/images.ts'
import { serviceVms } from '../../../src/main/local-home.ts'
import { LocalSystem } from '../system.ts'
import { must, type Scenario } from './scenario.ts'
import { endOf, sealToken } from './token.ts'

/** The token is destroyed. Backups are not: a new token is let in by the recovery key. */
export const tokenLost: Scenario = {
  summary: 'a destroyed token ends releases, and the recovery key lets a new one in: every snapshot restores',
  async run(say) {
    await using system = await LocalSystem.start({ images: { work: 32 }, fillMiB: 1, say })
    const home = system.home.home(serviceVms.hsm)
    const hsm = <T>(...words: readonly string[]) =>
      system.command<T>('hsm', ...words, '--settings', system.home.settings(serviceVms.hsm))
    const before = await system.digests()
    const { outcome } = await system.backup()
    must(outcome?.snapshot !== undefined, 'no snapshot to begin with')

    await rename(path.join(home, 'tokens'), path.join(system.home.directory, 'destroyed'))
    await mkdir(path.join(home, 'tokens'), { mode: 0o700 })
    await system.restartHost()
    const lost = await endOf(system, 'backup')
    must(lost.startsWith('HSM_TOKEN_'), `without the token a backup ended as ${lost}`)
    say(`the token is destroyed: ${lost}`)

    const { witnessKey, recipient } = await hsm<{ witnessKey: string; recipient: string }>('init')
    const unknown = await endOf(system, 'backup')
    must(unknown.startsWith('HSM_'), `with an unknown token a backup ended as ${unknown}`)
    say(`a new token with keys of its own cannot open the envelope: ${unknown}`)

    const keys = system.provisioned.recoveryKey
    const again = await hsm<{ digest: string; revision: number }>(
      'rewrap',
      system.profile,
      '--recovery-key',
      keys,
      '--recipient',
      execFileSync('age-keygen', ['-y', keys], { encoding: 'utf8' }).trim(),
    )
    say(
      `the recovery key opens it; the same passphrase is in revision ${again.revision}, for ${recipient.slice(0, 16)}… too`,
    )

    await sealToken(system, { envelope: again.digest, witnessKey })
    await system.restartHost()
    must((await endOf(system, 'backup')) === 'done', 'no backup with the new token')
    const { id } = await system.api.order({
      profile: system.profile,
      kind: 'restore',
      snapshot: outcome.snapshot,
    })
    const restored = await system.api.ended(id)
    must(restored.state === 'done', `the first snapshot does not restore: ${restored.error?.message}`)
    must(
      (await sha256OfFile(system.restored(restored, 'work'))) === before.work,
      'the first snapshot restores to other bytes',
    )
    must((await readdir(path.join(home, 'envelopes'))).length === 2, 'an envelope was lost')
    say('sealed: backups go on, and what was backed up before restores, byte for byte')
  },
}
