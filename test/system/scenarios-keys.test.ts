import { newEpoch } from './scenarios/new-epoch.ts'
import { recoveryWords } from './scenarios/recovery-words.ts'
import { tell } from './scenarios/tell.ts'
import { tokenLost } from './scenarios/token-lost.ts'

/** Of tokens, recovery keys and epochs. */
tell({ tokenLost, recoveryWords, newEpoch })
