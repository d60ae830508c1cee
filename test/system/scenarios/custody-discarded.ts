import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { install, writeDraft } from '../../../scripts/quickstart/provision.ts'
import { dom0 } from '../../../src/base/names.ts'
import { strongroom } from '../strongroom.ts'
import { LocalSystem } from '../system.ts'
import { must, type Scenario } from './scenario.ts'

/** A machine whose sealing keys are gone: it goes on backing up, and nobody can change what it does. */
export const custodyDiscarded: Scenario = {
  summary: 'with the sealing keys discarded a machine still backs up, and can no longer be changed',
  async run(say) {
    await using system = await LocalSystem.start({ images: { work: 32 }, fillMiB: 1, say })
    const { seal } = system.home
    await system.backup()
    say('a backup under keys that somebody holds')

    const { file, discarded } = await system.command<{ file: string; discarded: string[] }>(
      'seal',
      'discard',
      '--dir',
      seal,
    )
    await system.command('seal', 'sign', file, '--yes', '--dir', seal)
    const merged = await system.command<{ update: string }>('seal', 'merge', file, '--dir', seal)
    await install(system.home, merged.update)
    await system.restartHost()
    say(`${discarded.length} keys were made, used once and zeroed; the root before them has signed`)

    const done = await system.backup()
    must(done.state === 'done', 'no backup after the keys were discarded')
    say('the machine still backs up')

    const conf = path.join(seal, 'draft/profiles', `${system.profile}.conf`)
    await writeDraft(
      system.home,
      `profiles/${system.profile}.conf`,
      `${await readFile(conf, 'utf8')}# changed\n`,
    )
    const signed = await strongroom(['seal', 'sign', '--yes', '--json', '--dir', seal])
    must(
      signed.stderr.includes('SEAL_SIGNERS_SHORT'),
      `a change was answered ${signed.stderr}${signed.stdout}`,
    )
    say('all keys that were ever in a file are at hand, and nothing can be changed with them')

    const update = path.join(seal, 'updates', '1.update')
    const machine = path.join(system.home.home(dom0), 'sealed')
    const old = await strongroom(['seal', 'install', '--machine', machine, '--update', update, '--json'])
    must(
      /SEAL_(ROLLBACK|FORKED|MIXED|KEY_UNKNOWN)/.test(old.stderr),
      `the old version was answered ${old.stderr}${old.stdout}`,
    )
    say('the version before cannot be put back')
  },
}
