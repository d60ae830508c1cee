import { describe, test } from 'vitest'
import { approveAndDeny } from './scenarios/approve-and-deny.ts'
import { attestedRelease } from './scenarios/attested-release.ts'
import { ceremony2of3 } from './scenarios/ceremony-2of3.ts'
import { custodyDiscarded } from './scenarios/custody-discarded.ts'
import { damagedStorage } from './scenarios/damaged-storage.ts'
import { interruptedRestore } from './scenarios/interrupted-restore.ts'
import { killAndContinue } from './scenarios/kill-and-continue.ts'
import { leakTest } from './scenarios/leak-test.ts'
import { oldDiskRestored } from './scenarios/old-disk-restored.ts'
import { orderAndRestore } from './scenarios/order-and-restore.ts'
import { rolledBackStorage } from './scenarios/rolled-back-storage.ts'
import { tokenLost } from './scenarios/token-lost.ts'
import { witnessDisagrees } from './scenarios/witness-disagrees.ts'

/** `npm run scenario -- kill-and-continue` and the long tests kill more often. */
const killRounds = 2

describe('whole stories, as `npm run scenario` tells them', () => {
  const stories = {
    orderAndRestore,
    interruptedRestore,
    rolledBackStorage,
    damagedStorage,
    leakTest,
    ceremony2of3,
    custodyDiscarded,
    approveAndDeny,
    tokenLost,
    witnessDisagrees,
    attestedRelease,
    oldDiskRestored,
    killAndContinue: killAndContinue(killRounds),
  }
  for (const [name, story] of Object.entries(stories))
    test(`${name}: ${story.summary}`, async () => {
      const said: string[] = []
      try {
        await story.run(text => said.push(text))
      } catch (error) {
        throw new Error(`after: ${said.join('; ')}`, { cause: error })
      }
    })
})
