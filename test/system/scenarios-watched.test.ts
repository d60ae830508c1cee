import { killAndContinue } from './scenarios/kill-and-continue.ts'
import { leakTest } from './scenarios/leak-test.ts'
import { tell } from './scenarios/tell.ts'

/** `npm run scenario -- kill-and-continue` and the long tests kill more often. */
const killRounds = 2

/** Of processes that are watched, or killed. */
tell({ leakTest, killAndContinue: killAndContinue(killRounds) })
