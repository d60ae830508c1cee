import { approveAndDeny } from './approve-and-deny.ts'
import { attestedRelease } from './attested-release.ts'
import { bootDrill } from './boot-drill.ts'
import { ceremony2of3 } from './ceremony-2of3.ts'
import { custodyDiscarded } from './custody-discarded.ts'
import { damagedStorage } from './damaged-storage.ts'
import { drillLevels } from './drill-levels.ts'
import { interruptedRestore } from './interrupted-restore.ts'
import { killAndContinue } from './kill-and-continue.ts'
import { leakTest } from './leak-test.ts'
import { newEpoch } from './new-epoch.ts'
import { oldDiskRestored } from './old-disk-restored.ts'
import { orderAndRestore } from './order-and-restore.ts'
import { recoveryWords } from './recovery-words.ts'
import { rolledBackStorage } from './rolled-back-storage.ts'
import type { Scenario } from './scenario.ts'
import { tokenLost } from './token-lost.ts'
import { witnessDisagrees } from './witness-disagrees.ts'

export const scenarios: Readonly<Record<string, Scenario>> = {
  'order-and-restore': orderAndRestore,
  'interrupted-restore': interruptedRestore,
  'rolled-back-storage': rolledBackStorage,
  'damaged-storage': damagedStorage,
  'leak-test': leakTest,
  'ceremony-2of3': ceremony2of3,
  'custody-discarded': custodyDiscarded,
  'approve-and-deny': approveAndDeny,
  'token-lost': tokenLost,
  'new-epoch': newEpoch,
  'recovery-words': recoveryWords,
  'witness-disagrees': witnessDisagrees,
  'attested-release': attestedRelease,
  'old-disk-restored': oldDiskRestored,
  'boot-drill': bootDrill,
  'drill-levels': drillLevels,
  'kill-and-continue': killAndContinue(20),
}
