import { execFileSync } from 'node:child_process'
import { copyFile, open, readdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { dom0 } from '../../../src/base/names.ts'
import type { Job } from '../../../src/qrexec/calls/orders.ts'
import { strongroom } from '../strongroom.ts'
import { LocalSystem } from '../system.ts'
import { flipByte, largestPack } from './damage.ts'
import { must, type Scenario } from './scenario.ts'

const canary = '/canary'
const song = 'it still sings'
const drill = `
    levels: [ objects, data, filesystem, files, program ]
    within_days: 7
    files: [ { vm: work, volume: private, path: ${canary}, contains: "${song}", age_days_max: 2 } ]
    program: test -s "$VOLUMES/work/private.img"`

/** A backup is restored where nobody sees it, and looked into; what is wrong is named, and nothing is left. */
export const drillLevels: Scenario = {
  summary:
    'restore drills: each level passes, and fails for a fault of its kind; signed reports that anybody can verify',
  async run(say) {
    await using system = await LocalSystem.start({ images: { work: 48 }, fillMiB: 8, drill, say })
    const image = system.image('work')
    const text = path.join(system.home.directory, 'song')
    await writeFile(text, song)
    debugfs(image, `write ${text} ${canary}`)
    const whole = path.join(system.home.directory, 'whole.img')
    await copyFile(image, whole)
    await system.backup()
    await expectDrill(system, null, say)

    debugfs(image, `rm ${canary}`)
    await system.backup()
    await expectDrill(system, 'files', say)

    await copyFile(whole, image)
    await damageFileSystem(image)
    await system.backup()
    await expectDrill(system, 'filesystem', say)

    await copyFile(whole, image)
    await system.backup()
    await expectDrill(system, null, say)
    await flipByte(await largestPack(system))
    await expectDrill(system, 'data', say)

    const left = await readdir(path.join(system.home.home(dom0), 'drills'))
    must(left.length === 0, `a drill has left ${left.join()}`)
    say('no drill has left anything of what it restored')
  },
}

function debugfs(image: string, request: string): void {
  execFileSync('debugfs', ['-w', '-R', request, image], { stdio: 'pipe' })
}

/** The root directory, of which the superblock knows nothing. */
async function damageFileSystem(image: string): Promise<void> {
  const stat = execFileSync('debugfs', ['-R', 'blocks /', image], { encoding: 'latin1', stdio: 'pipe' })
  const info = execFileSync('dumpe2fs', ['-h', image], { encoding: 'latin1', stdio: 'pipe' })
  const block = Number(/\d+/.exec(stat)?.[0])
  const blockBytes = Number(/Block size:\s+(\d+)/.exec(info)?.[1])
  await using handle = await open(image, 'r+')
  await handle.write(Buffer.alloc(blockBytes, 0x5a), 0, blockBytes, block * blockBytes)
}

/** `level`: the one that does not pass; `null`: all do. */
async function expectDrill(
  system: LocalSystem,
  level: string | null,
  say: (text: string) => void,
): Promise<void> {
  const { id } = await system.api.order({ profile: system.profile, kind: 'drill' })
  const job: Job = await system.api.ended(id)
  if (level === null) must(job.state === 'done', `the drill failed: ${job.error?.code} ${job.error?.message}`)
  else must(job.error?.code === 'DRILL_FAILED', `the drill ended with ${job.error?.code ?? job.state}`)
  must(level === null || job.error?.message.includes(`'${level}'`) === true, `it says ${job.error?.message}`)

  const { envelope } = await system.api.request<{ envelope: string }>('GET', `/v1/jobs/${id}/report`)
  const file = path.join(system.home.directory, 'report.json')
  await writeFile(file, envelope)
  const roles = path.join(system.home.seal, 'draft/roles.json')
  const ledger = path.join(system.home.home(dom0), 'ledger')
  const { code, stdout, stderr } = await strongroom([
    ...['drill', 'verify', file, '--key', roles, '--ledger', ledger],
  ])
  must(code === (level === null ? 0 : 1), `the report verifies with ${code}: ${stderr}`)
  must(stdout.includes('signature  genuine'), `the report is not genuine: ${stdout}`)
  say(
    level === null
      ? 'a drill proves all levels; its report is genuine, and in the ledger'
      : `a fault of its kind: '${level}' fails, and the report says so: ${job.error?.message}`,
  )
}
