import { afterAll } from 'vitest'
import { discardAll } from './scratch.ts'

/* Set up for each file of tests: its worker may be ended without a word. */
afterAll(discardAll)
