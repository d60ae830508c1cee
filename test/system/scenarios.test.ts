import { approveAndDeny } from './scenarios/approve-and-deny.ts'
import { ceremony2of3 } from './scenarios/ceremony-2of3.ts'
import { custodyDiscarded } from './scenarios/custody-discarded.ts'
import { newEpoch } from './scenarios/new-epoch.ts'
import { tell } from './scenarios/tell.ts'
import { tokenLost } from './scenarios/token-lost.ts'

/** Of keys, seals and passphrases. */
tell({ ceremony2of3, custodyDiscarded, approveAndDeny, tokenLost, newEpoch })
