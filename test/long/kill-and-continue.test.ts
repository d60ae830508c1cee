import { test } from 'vitest'
import { killAndContinue } from '../system/scenarios/kill-and-continue.ts'

const rounds = 20

test(`${rounds} kills at seeded moments: nothing lies, and the next order succeeds`, () =>
  killAndContinue(rounds).run(text => console.log(text)))
