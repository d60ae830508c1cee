import { test } from 'vitest'
import { requireAnsweredInFlood } from '../hsm/flood.ts'

test('ten thousand requests hold up no release that was approved', () => requireAnsweredInFlood(10_000))
