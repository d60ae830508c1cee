import type { Clock } from '../../base/environment.ts'
import { readBounded, writeDurably } from '../../base/files.ts'
import type { Digest } from '../../base/names.ts'
import { type Envelope, encodeEnvelope, envelopeBytesMax } from '../envelope.ts'
import { SealError } from '../errors.ts'
import { reportingIo } from '../io.ts'
import { type RootPin, readPin } from '../pin.ts'
import { keysOfRole, ownerRole } from '../root.ts'
import type { SealReport } from '../show.ts'
import { addSignature } from '../signer.ts'
import { encodeUnsealing, unsealPayloadType, verifyUnsealing } from '../unseal.ts'
import { openCopy, requirePin, requireSealed } from './copy.ts'
import { type KeysAtHand, openKeys } from './keys-at-hand.ts'

export interface UnsealReport {
  readonly root: Digest
  readonly next: RootPin
  readonly file: string
}

/** `strongroom seal unseal`: the owner's statement that machines under this root shall trust the root of another pin. */
export async function unsealCommand(
  options: KeysAtHand & {
    readonly directory: string
    readonly clock: Clock
    /** The pin of what is to be trusted instead. */
    readonly nextPin: string
    readonly file: string
    readonly confirm: (text: readonly string[]) => Promise<boolean>
  },
  signal: AbortSignal,
): Promise<SealReport<UnsealReport>> {
  const { directory, clock, nextPin, file, confirm } = options
  const copy = await openCopy(directory, clock)
  const { root, rootDigest } = requireSealed(copy)
  const next = await readPin(nextPin)
  const text = [
    `takes every machine under root ${rootDigest} that is given this statement out of its sealed state`,
    `trusted instead: root ${next.digest}`,
  ]
  if (!(await confirm(text))) throw new SealError('SEAL_DECLINED', 'not confirmed; nothing was signed')
  const signers = await openKeys(copy.workspace, options)
  const payload = encodeUnsealing({ root: rootDigest, next })
  let envelope: Envelope = { payloadType: unsealPayloadType, payload, signatures: [] }
  for (const key of keysOfRole(root, ownerRole)) {
    const signer = signers.find(({ keyId }) => keyId === key.id)
    if (signer !== undefined) envelope = await addSignature(envelope, key, signer, 'unseal statement', signal)
  }
  const bytes = encodeEnvelope(envelope)
  verifyUnsealing(bytes, copy.installed, requirePin(copy))
  await reportingIo(() => writeDurably(file, bytes, 0o644))
  return {
    result: { root: rootDigest, next, file },
    text: [
      `unsealed  ${file}`,
      `next      strongroom seal install --machine DIR --unseal ${file} --update whole.update, with the update of the new root`,
    ],
  }
}

export async function readUnsealing(file: string) {
  const bytes = await reportingIo(() => readBounded(file, envelopeBytesMax))
  if (bytes === null) throw new SealError('SEAL_UNSEAL_REFUSED', `there is no file ${file}`)
  return bytes
}
