import { utf8 } from '../base/bytes.ts'
import type { IdempotencyKey, ProfileName, SnapshotId, VmName } from '../base/names.ts'
import type { ReadChoice } from '../base/read-choice.ts'
import type { RestoreChoice } from '../base/restore-choice.ts'
import { sha256Hex } from '../crypto/digest.ts'
import type { HsmBinding } from '../profiles/config.ts'
import type { Profile } from '../profiles/profile.ts'
import type { JobKind } from '../qrexec/calls/orders.ts'
import { lowerLimit } from '../storage/upload-budget.ts'
import { EngineError } from './errors.ts'
import type { PlacedOrder } from './jobs.ts'
import type { ConfigurationPort, SealedConfiguration } from './ports.ts'

/** What is ordered. Names only; what they mean is in the sealed configuration. */
export interface Order {
  readonly kind: JobKind
  readonly profile: ProfileName
  readonly initiator: VmName
  readonly key: IdempotencyKey
  /** What to do when a job of this kind already runs for the profile: be given that job, or be refused. */
  readonly ifRunning: 'join' | 'refuse'
  /** check: the structure only when absent. */
  readonly read?: ReadChoice
  /** prune: only tell what would be done. */
  readonly dryRun?: boolean
  /** `null`: the newest. */
  readonly snapshot?: SnapshotId | null
  /** restore: all of the snapshot when absent. */
  readonly choice?: RestoreChoice
  /** backup: to send no faster than this, nor than the sealed profile allows. */
  readonly uploadBytesPerSecond?: number | undefined
  /** backup: the VM that orders says that the network is. */
  readonly metered?: boolean | undefined
}

/** An order, and what it means. */
export interface Accepted {
  readonly order: Order
  readonly profile: Profile
  readonly binding: HsmBinding
  readonly configuration: SealedConfiguration
}

/** What is ordered as it is sealed now. Throws `PROFILE_NOT_FOUND`. */
export async function asSealed(port: ConfigurationPort, order: Order): Promise<Accepted> {
  const configuration = await port.current()
  const profile = configuration.value.profiles.get(order.profile)
  const binding = configuration.value.bindings.get(order.profile)
  if (profile === undefined || binding === undefined)
    throw new EngineError('PROFILE_NOT_FOUND', `Backup profile does not exist: ${order.profile}`)
  return { order, profile, binding, configuration }
}

/** How fast a backup may send: as the profile says, or slower. Bytes a second; `null`: as fast as it can. */
export function uploadLimit(
  { budget }: Pick<Profile, 'budget'>,
  { uploadBytesPerSecond, metered }: Order,
): number | null {
  return lowerLimit(
    budget.uploadBytesPerSecond,
    uploadBytesPerSecond ?? null,
    metered ? budget.meteredBytesPerSecond : null,
  )
}

/** Everything that an order says beside who sent it counts as what is wanted, whatever fields it has. */
export function placed({ initiator, key, ifRunning: _, ...wanted }: Order): PlacedOrder {
  const said = Object.entries(wanted).filter(([, value]) => value !== undefined)
  const text = JSON.stringify(said.sort(([one], [other]) => (one < other ? -1 : 1)))
  return { initiator, key, wanted: sha256Hex(utf8(text)) }
}
