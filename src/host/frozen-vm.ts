import type { Log } from '../base/log.ts'
import type { VmName } from '../base/names.ts'
import type { FrozenVm, FrozenVolume, KeptStates } from './volumes.ts'

/** One volume of a frozen VM, and what becomes of it. */
export interface FrozenPart {
  readonly volume: FrozenVolume
  /** Throws `VOLUME_CHANGED` if the moment did not hold. */
  verify(): Promise<void>
  /** Takes what `state` stands on out of this part; `null` if there is nothing, or it was taken before. */
  take(): KeptPart | null
  /** Thaws, and drops what was not taken. */
  release(): Promise<void>
}

export interface KeptPart {
  /** Makes it what `state` is compared with, in place of the one before. */
  commit(): Promise<void>
  drop(): Promise<void>
}

export function frozenVm(vm: VmName, parts: readonly FrozenPart[], log: Log): FrozenVm {
  return {
    vm,
    volumes: parts.map(({ volume }) => volume),
    keep: names => keptStates(vm, takenOf(parts, names), log),
    async [Symbol.asyncDispose]() {
      const verdicts = await Promise.allSettled(parts.map(part => part.verify()))
      await releaseAll(vm, parts, log)
      const failed = verdicts.find(verdict => verdict.status === 'rejected')
      if (failed) throw failed.reason
    },
  }
}

/** Freezes one after another; if one fails, those before are released. */
export async function freezeAll<T>(
  vm: VmName,
  volumes: readonly T[],
  freeze: (volume: T) => Promise<FrozenPart>,
  log: Log,
): Promise<FrozenVm> {
  const parts: FrozenPart[] = []
  try {
    for (const volume of volumes) parts.push(await freeze(volume))
  } catch (error) {
    await releaseAll(vm, parts, log)
    throw error
  }
  return frozenVm(vm, parts, log)
}

type Taken = readonly (readonly [volume: string, part: KeptPart])[]

function takenOf(parts: readonly FrozenPart[], names: readonly string[]): Taken {
  const taken: [string, KeptPart][] = []
  for (const { volume, take } of parts) {
    const part = names.includes(volume.name) ? take() : null
    if (part !== null) taken.push([volume.name, part])
  }
  return taken
}

function keptStates(vm: VmName, taken: Taken, log: Log): KeptStates {
  let undecided = taken
  const decide = async (decision: 'commit' | 'drop', complaint: string) => {
    const parts = undecided
    undecided = []
    for (const [volume, part] of parts)
      await part[decision]().catch(error => log.warn(complaint, { vm, volume, error }))
  }
  return {
    commit: () => decide('commit', 'a state cannot be kept: the next backup reads the volume in full'),
    [Symbol.asyncDispose]: () => decide('drop', 'a state that nobody wants is left over'),
  }
}

async function releaseAll(vm: VmName, parts: readonly FrozenPart[], log: Log): Promise<void> {
  for (const part of parts)
    await part
      .release()
      .catch(error => log.warn('a frozen volume is left over', { vm, volume: part.volume.name, error }))
}
