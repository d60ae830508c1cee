import { bootDrill } from './scenarios/boot-drill.ts'
import { damagedStorage } from './scenarios/damaged-storage.ts'
import { drillLevels } from './scenarios/drill-levels.ts'
import { interruptedRestore } from './scenarios/interrupted-restore.ts'
import { orderAndRestore } from './scenarios/order-and-restore.ts'
import { rolledBackStorage } from './scenarios/rolled-back-storage.ts'
import { tell } from './scenarios/tell.ts'

/** Of what is stored, and what comes back. */
tell({ orderAndRestore, interruptedRestore, rolledBackStorage, damagedStorage, drillLevels, bootDrill })
