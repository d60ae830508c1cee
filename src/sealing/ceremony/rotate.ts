import type { Clock } from '../../base/environment.ts'
import type { PublicKey } from '../keys.ts'
import { planSeal } from '../plan.ts'
import { changeRoot, type RootChange, rolesOfKey } from '../root-change.ts'
import type { SealReport } from '../show.ts'
import { proposalOf } from '../sign.ts'
import { openCopy, requirePin, requireSealed } from './copy.ts'
import { type ProposalReport, publish } from './propose.ts'

/* `strongroom seal rotate-root` and `revoke`: a proposal of the next root. What is sealed below it stays as it is. */

interface RootOptions {
  readonly directory: string
  /** Of the new snapshot. */
  readonly expires: Date
  readonly clock: Clock
}

export async function rotateCommand(
  options: RootOptions & { readonly change: RootChange },
): Promise<SealReport<ProposalReport>> {
  const { directory, expires, clock, change } = options
  const copy = await openCopy(directory, clock)
  const present = requireSealed(copy)
  const plan = planSeal({
    installed: copy.installed,
    nextRoot: changeRoot(present.root, change),
    pin: requirePin(copy),
    files: present.files,
    expires,
    renew: [],
    now: clock.now(),
  })
  return await publish(copy.workspace, proposalOf(plan))
}

/** Takes a key out of every role, and puts another one in its place where one is given. */
export async function revokeCommand(
  options: RootOptions & { readonly id: string; readonly replacement: PublicKey | null },
): Promise<SealReport<ProposalReport>> {
  const { id, replacement, expires } = options
  const { root } = requireSealed(await openCopy(options.directory, options.clock))
  const roles = rolesOfKey(root, id)
  const add = replacement === null ? [] : roles.map(role => ({ role, key: replacement }))
  const change: RootChange = {
    add,
    remove: [{ role: 'every', id }],
    thresholds: new Map(),
    custody: null,
    expires,
  }
  return await rotateCommand({ ...options, change })
}
