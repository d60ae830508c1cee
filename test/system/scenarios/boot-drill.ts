import { open } from 'node:fs/promises'
import { saying } from '../../support/boot-sectors.ts'
import { LocalSystem } from '../system.ts'
import { must, type Scenario } from './scenario.ts'

const drill = '{ levels: [ data, boot ], boot: { vm: work, marker: all is well, seconds_max: 40 } }'

/** A VM that is one boot sector, in the place that ext4 leaves for it. */
export const bootDrill: Scenario = {
  summary: 'a restored VM is started in a machine without a network, and says the word, or does not',
  async run(say) {
    await using system = await LocalSystem.start({ images: { work: 32 }, fillMiB: 4, drill, say })
    await install(system, 'all is well\r\n')
    await system.backup()
    const right = await ended(system)
    must(right.state === 'done', `the drill failed: ${right.error?.code} ${right.error?.message}`)
    say('restored and started: it says the word on its console, and the drill has passed')

    await install(system, 'all is lost\r\n')
    await system.backup()
    const wrong = await ended(system)
    must(wrong.error?.code === 'DRILL_FAILED', `the drill ended with ${wrong.error?.code ?? wrong.state}`)
    must(wrong.error.message.includes("'boot'"), `it says ${wrong.error.message}`)
    say(`one that says something else: ${wrong.error.message}`)
  },
}

async function install(system: LocalSystem, text: string): Promise<void> {
  await using handle = await open(system.image('work'), 'r+')
  await handle.write(saying(text, 'once'), 0, undefined, 0)
}

async function ended(system: LocalSystem) {
  const { id } = await system.api.order({ profile: system.profile, kind: 'drill' })
  return await system.api.ended(id)
}
