import path from 'node:path'
import { BaseError } from '../base/base-errors.ts'
import { printable } from '../base/errors.ts'
import { parseDigest } from '../base/names.ts'
import type { Secret } from '../base/secret.ts'
import type { ImageProgress } from '../sealing/image.ts'
import { type ImageTrust, imageCommand, verifyImageCommand } from '../sealing/image-commands.ts'
import type { SealPlace } from '../sealing/show.ts'
import { askSecret } from './ask.ts'
import { type Answer, missing } from './command-line.ts'

/* `strongroom seal image [verify]`: its options, its passphrase and its progress. */

interface ImageValues {
  readonly out?: string | undefined
  readonly source?: string | undefined
  readonly key?: readonly string[] | undefined
  readonly certificate?: string | undefined
  readonly 'root-hash'?: string | undefined
}

/** `store`: of which an image is made when no --source is given. */
export async function sealImage(
  values: ImageValues,
  operand: string | undefined,
  store: SealPlace,
  signal: AbortSignal,
): Promise<Answer> {
  const { out = missing('--out'), source = store, certificate } = values
  const [key, ...others] = values.key ?? []
  if (operand === 'verify') return verifyImageCommand(out, trustOf(values), progress, signal)
  if (operand !== undefined)
    throw new BaseError('FIELD_INVALID', `'${printable(operand)}' is not verify`, {
      hint: 'see strongroom seal --help',
    })
  if ((key === undefined) !== (certificate === undefined) || others.length > 0)
    throw new BaseError('FIELD_INVALID', 'one --key and its --certificate go together', {
      hint: 'without both the image is not signed',
    })
  using held = new DisposableStack()
  const passphrase = async (file: string): Promise<Secret> =>
    held.use(await askSecret(`Passphrase of ${path.basename(file)}`))
  const signing = key === undefined || certificate === undefined ? null : { key, certificate }
  // Awaited here: the passphrase ends with this block.
  return await imageCommand({ source, out, signing, passphrase, progress }, signal)
}

function trustOf({ certificate, 'root-hash': rootHash }: ImageValues): ImageTrust {
  if (certificate !== undefined && rootHash === undefined) return { certificate }
  if (rootHash !== undefined && certificate === undefined) return { rootHash: parseDigest(rootHash) }
  throw new BaseError('FIELD_INVALID', 'an image is verified against --certificate or against --root-hash', {
    hint: 'the root hash that lies beside an image proves nothing: whoever can change the one can change the other',
  })
}

const told = { at: Number.NEGATIVE_INFINITY }
const intervalMilliseconds = 1000

/** On a terminal, once a second and at the end of what takes that long. */
const progress: ImageProgress = (step, bytesDone, bytesTotal) => {
  const now = performance.now()
  if (!process.stderr.isTTY || now - told.at < intervalMilliseconds) return
  told.at = now
  const mebibytes = (bytes: number) => `${Math.floor(bytes / 1024 ** 2)} MiB`
  console.error(
    `${step.padEnd(9)} ${mebibytes(bytesDone)}${bytesTotal === null ? '' : ` of ${mebibytes(bytesTotal)}`}`,
  )
}
