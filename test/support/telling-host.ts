import type { FrozenVolume, VolumeSource, VolumeState } from '../../src/host/volumes.ts'

/** Tells of the volumes of `work` what has changed since it was asked last: all of it, or nothing. */
export class TellingHost {
  /** What it says of a volume when it is asked with its last state. */
  says: 'data' | 'unchanged' = 'unchanged'
  /** The states that it was asked with. */
  readonly asked: (VolumeState | null)[] = []
  #states = 0

  wrap(honest: VolumeSource): VolumeSource {
    return {
      freeze: async (vm, signal) => {
        const frozen = await honest.freeze(vm, signal)
        return {
          vm: frozen.vm,
          volumes: vm === 'work' ? frozen.volumes.map(volume => this.#told(volume)) : frozen.volumes,
          keep: names => frozen.keep(names),
          [Symbol.asyncDispose]: () => frozen[Symbol.asyncDispose](),
        }
      },
    }
  }

  #told(volume: FrozenVolume): FrozenVolume {
    const { name, bytes, path } = volume
    const host = this
    const last = String(this.#states - 1)
    return {
      name,
      bytes,
      path,
      state: { source: 'test', mark: String(this.#states++) },
      async *extents(since) {
        host.asked.push(since)
        const knows = since?.source === 'test' && since.mark === last
        yield { kind: knows ? host.says : 'data', offset: 0, length: bytes }
      },
    }
  }
}
