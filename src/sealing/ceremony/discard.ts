import type { Clock, Entropy } from '../../base/environment.ts'
import type { Digest } from '../../base/names.ts'
import { SealError } from '../errors.ts'
import { type PublicKey, shortId } from '../keys.ts'
import { type MemorySigner, memorySigner } from '../memory-signer.ts'
import { planSeal } from '../plan.ts'
import { signProposal } from '../proposal.ts'
import { contentRoles, ownerRole, publishers, type Root, type RootRole } from '../root.ts'
import type { RootContent } from '../root-candidate.ts'
import type { SealReport } from '../show.ts'
import { proposalOf } from '../sign.ts'
import { openCopy, requirePin, requireSealed } from './copy.ts'
import { type ProposalReport, publish } from './propose.ts'

/*
 * `strongroom seal discard`: from now on nobody can change what is sealed. The next root gives every role to a key that is made
 * in the memory of this process, signs what it has to sign once, and is zeroed; no file ever holds it. The holders of the present
 * root sign that root, with which their own keys lose all power.
 */

/** No role has to be signed again: nobody could. */
export const forever = new Date('9999-12-31T23:59:59.000Z')

export interface DiscardOptions {
  readonly directory: string
  readonly clock: Clock
  readonly entropy: Entropy
  /** Content roles whose holders go on: the user's `hsm`, so that a lost token does not end all backups. */
  readonly keep: readonly string[]
  /** Without one, a machine stays in the sealed state for ever. */
  readonly withOwner: boolean
}

export interface DiscardReport extends ProposalReport {
  /** Of the keys that are gone. */
  readonly discarded: readonly Digest[]
  readonly kept: readonly string[]
}

export async function discardCommand(
  options: DiscardOptions,
  signal: AbortSignal,
): Promise<SealReport<DiscardReport>> {
  const { directory, clock, entropy, keep, withOwner } = options
  const copy = await openCopy(directory, clock)
  const present = requireSealed(copy)
  if (present.custody === 'discarded')
    throw new SealError('SEAL_DISCARDED', 'the keys of this store were discarded already')
  using keys = new DisposableStack()
  const made: MemorySigner[] = []
  const key = () => {
    const signer = keys.use(memorySigner(entropy))
    made.push(signer)
    return signer
  }
  const nextRoot = discardedRoot(present.root, { keep, withOwner }, key)
  const plan = planSeal({
    installed: copy.installed,
    nextRoot,
    pin: requirePin(copy),
    files: present.files,
    expires: forever,
    renew: contentRoles(nextRoot).filter(role => !keep.includes(role)),
    now: clock.now(),
  })
  const { proposal } = await signProposal(proposalOf(plan), made, signal)
  const discarded = made.map(({ publicKey }) => publicKey.id)
  keys.dispose()
  const { result, text } = await publish(copy.workspace, proposal)
  return {
    result: { ...result, discarded, kept: keep },
    text: [
      ...describeDiscarded(discarded),
      ...text,
      'careful   once this is in force, nobody can change what is sealed',
    ],
  }
}

export function describeDiscarded(discarded: readonly Digest[]): readonly string[] {
  return discarded.map(id => `discarded key ${shortId(id)}…: made here, used once, zeroed, never written`)
}

function discardedRoot(
  root: Root,
  { keep, withOwner }: Pick<DiscardOptions, 'keep' | 'withOwner'>,
  makeKey: () => MemorySigner,
): RootContent {
  for (const role of keep)
    if (!contentRoles(root).includes(role))
      throw new SealError('SEAL_ROOT_INVALID', `there is no role '${role}' to keep`)
  const roles = new Map<string, RootRole>()
  const keys = new Map<Digest, PublicKey>()
  for (const [name, role] of root.roles) {
    const stays = keep.includes(name) || (name === ownerRole && withOwner)
    if (name === 'snapshot' || (name === ownerRole && !withOwner)) continue
    if (stays) {
      for (const id of role.keys) {
        const held = root.keys.get(id)
        if (held !== undefined) keys.set(id, held)
      }
      roles.set(name, role)
      continue
    }
    const { publicKey } = makeKey()
    keys.set(publicKey.id, publicKey)
    roles.set(name, { ...role, keys: [publicKey.id], threshold: 1 })
  }
  roles.set('snapshot', publishers(roles))
  return { custody: 'discarded', expires: forever, keys, roles }
}
