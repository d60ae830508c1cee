import { test } from 'vitest'
import { requireAnsweredInFlood } from './flood.ts'

test('a flood of requests holds up no release that was approved', () => requireAnsweredInFlood(1200))
