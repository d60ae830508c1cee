import { describe, expect, it } from 'vitest'
import { systemClock } from '../../src/base/environment.ts'
import { Secret } from '../../src/base/secret.ts'
import type { Order } from '../../src/engine/order.ts'
import type { EnginePorts } from '../../src/engine/ports.ts'
import { UploadBudget, type UploadShare } from '../../src/storage/upload-budget.ts'
import { type EngineBench, orderOf, testBench, testProfile } from '../support/engine.ts'

const KiB = 1024
const sealed = `${testProfile}strongroom: { budget: { upload_kib_per_second: 2048 } }\n`

const order = (one: EngineBench, more: Partial<Order> = {}) => orderOf(one, { ifRunning: 'join', ...more })

async function limitOf(one: EngineBench, more: Partial<Order>): Promise<number | undefined> {
  const { id } = await one.orders.order(order(one, more))
  const { state, progress } = await one.orders.ended(id)
  expect(state).toBe('done')
  return progress.uploadBytesPerSecond
}

describe('what a backup may send', () => {
  it('is what the sealed profile says, or less, never more, and its progress says so', async () => {
    const one = await testBench({ profileText: sealed })
    expect(await limitOf(one, {})).toBe(2048 * KiB)
    expect(await limitOf(one, { uploadBytesPerSecond: 100 * KiB })).toBe(100 * KiB)
    expect(await limitOf(one, { uploadBytesPerSecond: 9000 * KiB })).toBe(2048 * KiB)
  })

  it('is not limited when nobody limits it', async () => {
    const one = await testBench()
    expect(await limitOf(one, {})).toBeUndefined()
    expect(await limitOf(one, { uploadBytesPerSecond: 100 * KiB })).toBe(100 * KiB)
  })

  it('is no more than all jobs of dom0 may send', async () => {
    const ports = { uploads: new UploadBudget(systemClock, 64 * KiB) }
    const one = await testBench({ profileText: sealed, ports })
    expect(await limitOf(one, {})).toBe(64 * KiB)
  })

  it('is what holds up its connection to the storage', async () => {
    const shares: UploadShare[] = []
    const watched =
      (open: EnginePorts['storage']): EnginePorts['storage'] =>
      (vm, repository, upload, signal) => {
        shares.push(upload)
        return open(vm, repository, upload, signal)
      }
    const one = await testBench({ profileText: sealed, openStorage: watched })
    await limitOf(one, { uploadBytesPerSecond: 100 * KiB })
    expect(shares.map(({ bytesPerSecondMax }) => bytesPerSecondMax)).toEqual([100 * KiB])
  })

  it('is what a prune may send, too', async () => {
    const shares: UploadShare[] = []
    const one = await testBench({
      profileText: `${testProfile}strongroom:\n  retention: { keep_last: 1 }\n  budget: { upload_kib_per_second: 2048 }\n`,
    })
    const { prunable } = one.ports
    Object.assign(one.ports, {
      prunable: (...opened: Parameters<EnginePorts['prunable']>) => {
        shares.push(opened[2])
        return prunable(...opened)
      },
    })
    await limitOf(one, {})
    await limitOf(one, {})
    expect(await limitOf(one, { kind: 'prune', ifRunning: 'refuse' })).toBe(2048 * KiB)
    expect(shares.map(({ bytesPerSecondMax }) => bytesPerSecondMax)).toEqual([2048 * KiB])
  })

  it('is what the order says that came last, when orders join', async () => {
    const gate = Promise.withResolvers<Secret>()
    const one = await testBench({ profileText: sealed, release: () => gate.promise })
    const { id } = await one.orders.order(order(one, { uploadBytesPerSecond: 16 * KiB }))
    expect((await one.orders.order(order(one))).id).toBe(id)
    gate.resolve(Secret.take(new TextEncoder().encode('correct-horse-battery-staple-0123456789')))
    expect((await one.orders.ended(id)).progress.uploadBytesPerSecond).toBe(2048 * KiB)
  })
})
