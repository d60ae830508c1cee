import { cp, mkdir, readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { dom0 } from '../../../src/base/names.ts'
import { TpmSystem } from '../tpm-system.ts'
import { must, type Scenario } from './scenario.ts'

/** In dom0's directory, and on no disk: the software TPM, and what is in /run. */
const elsewhere = ['tpm', 'run']

/** Somebody puts back an old image of dom0's disk, on which everything is right. */
export const oldDiskRestored: Scenario = {
  summary:
    'an old disk that is put back whole is noticed: by the counter of the TPM, and by the HSM VM without one',
  async run(say) {
    await using one = await TpmSystem.start(say)
    const { system } = one
    const home = system.home.home(dom0)
    must((await one.backup()) === 'done', 'no backup to begin with')

    await one.stopHost()
    await copyDisk(home, path.join(system.home.directory, 'image'))
    const binding = await one.binding()
    await one.seal({ ...binding, releases_per_day: 5 })
    await one.startHost()
    must((await one.backup()) === 'done', 'no backup with the newer version')
    say('an image of the disk was kept; since then a newer version was sealed, and is in use')

    await one.stopHost()
    await copyDisk(home, path.join(system.home.directory, 'newest'))
    await copyDisk(path.join(system.home.directory, 'image'), home)
    const refusal = await one.refusalToStart()
    must(refusal.includes('SEAL_COUNTER_PASSED'), `from an old disk dom0 said: ${refusal}`)
    say('the old disk is put back: dom0 does not start, SEAL_COUNTER_PASSED')

    await one.setTpm(null)
    await one.startHost()
    const refused = await one.backup()
    must(/^HSM_REFUSED_/.test(refused), `without the TPM the backup ended as ${refused}`)
    say(`the same with a dom0 that is told to use no TPM: ${refused.slice(0, 120)}`)

    await one.stopHost()
    await one.setTpm({ device: one.tpm.socket, measurements: one.measurements })
    await copyDisk(path.join(system.home.directory, 'newest'), home)
    await one.startHost()
    must((await one.backup()) === 'done', 'the newest disk does not back up')
    say('the newest disk is put back: it backs up')
  },
}

async function copyDisk(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true })
  for (const name of await readdir(to))
    if (!elsewhere.includes(name)) await rm(path.join(to, name), { recursive: true })
  for (const name of await readdir(from))
    if (!elsewhere.includes(name))
      await cp(path.join(from, name), path.join(to, name), { recursive: true, verbatimSymlinks: true })
}
