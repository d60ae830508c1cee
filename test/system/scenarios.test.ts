import { approveAndDeny } from './scenarios/approve-and-deny.ts'
import { ceremony2of3 } from './scenarios/ceremony-2of3.ts'
import { custodyDiscarded } from './scenarios/custody-discarded.ts'
import { tell } from './scenarios/tell.ts'

/** Of seals, and of people who decide. */
tell({ ceremony2of3, custodyDiscarded, approveAndDeny })
