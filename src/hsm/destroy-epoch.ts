import type { Milliseconds } from '../base/brand.ts'
import { CodedError } from '../base/errors.ts'
import { dom0, type ProfileName } from '../base/names.ts'
import { Untrusted } from '../base/untrusted.ts'
import { type Checkpoint, verifyCheckpoint } from '../ledger/checkpoint.ts'
import { LedgerError } from '../ledger/errors.ts'
import { verifierKey } from '../ledger/note.ts'
import type { Call, Transport } from '../qrexec/call.ts'
import { epochDestroyed } from '../qrexec/calls/epochs.ts'
import { readLedger } from '../qrexec/calls/ledger.ts'
import { callOver } from '../qrexec/client.ts'
import { HsmError } from './errors.ts'
import { readWitnessed } from './ledger-reading.ts'
import type { Releaser, ReleaserPorts } from './releaser.ts'

/*
 * The end of an earlier epoch, in an order that can be interrupted anywhere and done again:
 *   1. dom0's newest head is cosigned, as for a release: from here on dom0 cannot go on with another ledger;
 *   2. the whole ledger is read and compared with that head; as long as it has snapshots of the epoch, nothing happens;
 *   3. the mark of a destroyed epoch is durable: the point of no return. Nothing of the epoch is released from here on;
 *   4. every revision of its envelope is overwritten and removed; an interruption is made good by the next start or call;
 *   5. dom0 is told, and records it. Told twice it records once.
 */

const answerMilliseconds: Milliseconds = 30_000
const headsMax = 3

export interface DestroyPorts
  extends Pick<ReleaserPorts, 'store' | 'configuration' | 'ledger' | 'clock' | 'log'> {
  readonly releaser: Pick<Releaser, 'witness' | 'between'>
  /** `null`: this VM's settings name no way to dom0. */
  readonly transport: Transport | null
}

export interface DestroyedEpoch {
  /** Files that were overwritten and removed by this call. */
  readonly envelopes: number
  /** Where dom0's ledger has it. */
  readonly entry: number
}

/**
 * Throws `HSM_EPOCH_IN_USE`, `HSM_ENVELOPE_MISSING`, `HSM_REFUSED_LEDGER`, and what the way to dom0 throws: nothing was done
 * then. `HSM_EPOCH_UNRECORDED`: the epoch is destroyed, and dom0 has not recorded it.
 */
export async function destroyEpoch(
  ports: DestroyPorts,
  { profile, epoch }: { readonly profile: ProfileName; readonly epoch: number },
  signal: AbortSignal,
): Promise<DestroyedEpoch> {
  const { store, configuration, log, clock } = ports
  const ask = asking(ports.transport, signal)
  if (!(await store.envelopes.isDestroyed(profile, epoch))) {
    if ((await store.envelopes.revisions(profile, epoch)).length === 0)
      throw new HsmError('HSM_ENVELOPE_MISSING', `there is no envelope for ${profile} in epoch ${epoch}`)
    const binding = (await configuration()).value.bindings.get(profile)
    if (binding !== undefined && epoch >= binding.epoch)
      throw new HsmError('HSM_EPOCH_IN_USE', `epoch ${epoch} of ${profile}; only one before the sealed ends`)
    await requireEmptied(ports, ask, { profile, epoch }, signal)
  }
  // What has been read for a release that is under way would be handed over after it was destroyed.
  const envelopes = await ports.releaser.between(signal, () =>
    store.envelopes.destroy(profile, epoch, clock.now()),
  )
  log.warn('an epoch is destroyed', { profile, epoch, envelopes })
  try {
    const { entry } = await ask(epochDestroyed, profile, { epoch })
    return { envelopes, entry }
  } catch (cause) {
    throw new HsmError(
      'HSM_EPOCH_UNRECORDED',
      `epoch ${epoch} of ${profile} is destroyed; dom0 has not recorded it (${cause instanceof CodedError ? cause.code : 'error'})`,
      { cause },
    )
  }
}

type Ask = <Request, Response>(
  call: Call<Request, Response>,
  argument: string,
  request: Request,
) => Promise<Response>

function asking(transport: Transport | null, signal: AbortSignal): Ask {
  if (transport === null)
    throw new HsmError('HSM_DOM0_UNREACHABLE', 'the settings of this VM name no way to dom0')
  return (call, argument, request) =>
    callOver(transport, call, dom0, argument, request, signal, answerMilliseconds)
}

/** Throws `HSM_EPOCH_IN_USE` as long as a snapshot of the epoch was not forgotten. */
async function requireEmptied(
  ports: DestroyPorts,
  ask: Ask,
  { profile, epoch }: { readonly profile: ProfileName; readonly epoch: number },
  signal: AbortSignal,
): Promise<void> {
  const head = await cosignedHead(ports, ask, signal)
  try {
    const history = await readWitnessed(head, from => ask(readLedger, '', { from }), signal)
    const count = history.repository(profile, epoch)?.snapshots.length ?? 0
    if (count > 0)
      throw new HsmError(
        'HSM_EPOCH_IN_USE',
        `the ledger has ${count} snapshots of ${profile} in epoch ${epoch} that were not forgotten`,
      )
  } catch (cause) {
    if (!(cause instanceof LedgerError)) throw cause
    throw new HsmError('HSM_REFUSED_LEDGER', `${cause.code}: ${cause.message}`, { cause })
  }
}

/** dom0's newest, which this VM remembers from now on. */
async function cosignedHead(
  { store, configuration, ledger, releaser }: DestroyPorts,
  ask: Ask,
  signal: AbortSignal,
): Promise<Checkpoint> {
  for (let attempt = 0; attempt < headsMax; attempt++) {
    const from = store.witness?.size ?? 0
    const { checkpoint, consistency } = await ask(readLedger, '', { from })
    const shown = { checkpoint, consistency: { from, proof: consistency } }
    const answer = await releaser.witness(shown, { source: dom0, argument: '', signal })
    // A job of dom0 had another one cosigned meanwhile.
    if ('witnessSize' in answer) continue
    const { keys } = (await configuration()).value.roles
    return verifyCheckpoint(new Untrusted(checkpoint), verifierKey(ledger.origin, 'ed25519', keys.dom0))
  }
  throw new HsmError('HSM_BUSY', 'the ledger grows faster than it is read', { retry: true })
}
