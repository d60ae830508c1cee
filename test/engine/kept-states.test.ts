import { describe, expect, it } from 'vitest'
import type { VolumeSource } from '../../src/host/volumes.ts'
import { StorageError } from '../../src/storage/errors.ts'
import { type EngineBench, run, testBench } from '../support/engine.ts'

let bench: EngineBench
let events: string[] = []

/** The real source, and what is done with the states that it should keep. */
function watched(source: VolumeSource): VolumeSource {
  const snapshots = () => bench.ledger.repository(bench.profile, 1)?.snapshots.length ?? 0
  return {
    async freeze(vm, signal) {
      const frozen = await source.freeze(vm, signal)
      return {
        vm,
        volumes: frozen.volumes,
        keep(names) {
          const kept = frozen.keep(names)
          events.push(`keep ${vm} ${names}`)
          return {
            async commit() {
              events.push(`commit ${vm} with ${snapshots()} in the ledger`)
              await kept.commit()
            },
            async [Symbol.asyncDispose]() {
              events.push(`dispose ${vm}`)
              await kept[Symbol.asyncDispose]()
            },
          }
        },
        async [Symbol.asyncDispose]() {
          events.push(`thaw ${vm}`)
          await frozen[Symbol.asyncDispose]()
        },
      }
    },
  }
}

async function backup() {
  events = []
  return run(bench)
}

describe('the states of volumes', () => {
  it('are kept when the snapshot is in the ledger, and not before', async () => {
    bench = await testBench({ wrapVolumes: watched })
    expect((await backup()).state).toBe('done')
    expect(events).toEqual([
      'keep personal private',
      'thaw personal',
      'keep work private',
      'thaw work',
      'commit personal with 1 in the ledger',
      'commit work with 1 in the ledger',
      'dispose work',
      'dispose personal',
    ])
  })

  it('are let go of when the backup fails after all was read', async () => {
    bench = await testBench({ wrapVolumes: watched })
    bench.storage.faults = {
      before: (operation, subject) => {
        if (operation === 'put' && subject.startsWith('index/'))
          throw new StorageError('STORAGE_IO', 'planted')
      },
    }
    expect((await backup()).state).toBe('failed')
    expect(events.filter(event => event.startsWith('commit'))).toEqual([])
    expect(events.slice(-2)).toEqual(['dispose work', 'dispose personal'])
  })
})
