import { fromUtf8 } from '../base/bytes.ts'
import { readBounded } from '../base/files.ts'
import { type Digest, parseDigest } from '../base/names.ts'
import type { Secret } from '../base/secret.ts'
import type { Untrusted } from '../base/untrusted.ts'
import { verifyDetachedSignature } from '../crypto/pkcs7.ts'
import { type Readable, verifyVerity } from '../crypto/verity.ts'
import { SealError } from './errors.ts'
import { type Image, type ImageProgress, makeImage, openReadable, requireOutside } from './image.ts'
import { imageFiles } from './image-files.ts'
import { readCertificate, readImageKey, signedContent } from './image-signer.ts'
import { directoryEntries, memoryEntries } from './image-source.ts'
import { reportingIo } from './io.ts'
import { type SealPlace, type SealReport, verifyPlace } from './show.ts'

/* `strongroom seal image` and `seal image verify`, without argument parsing and terminals. */

const signatureBytesMax = 64 * 1024
const rootHashBytesMax = 1024
/** Of the superblock, fs/erofs/erofs_fs.h. */
const erofsMagic = Buffer.from('e2e1f5e0', 'hex')
const erofsMagicAt = 1024

export interface ImageCommandOptions {
  /** A directory, or a sealed store, of which the files go in that its roles hold. */
  readonly source: string | SealPlace
  readonly out: string
  /** `null` leaves the image unsigned. */
  readonly signing: { readonly key: string; readonly certificate: string } | null
  /** Asked once if the key file is encrypted; the caller keeps and disposes what it returns. */
  readonly passphrase: (file: string) => Promise<Secret>
  readonly progress: ImageProgress
}

/** `strongroom seal image` */
export async function imageCommand(
  options: ImageCommandOptions,
  signal: AbortSignal,
): Promise<SealReport<Image & { readonly out: string }>> {
  const { source, out, signing, progress } = options
  if (typeof source === 'string') await requireOutside(out, source)
  const entries =
    typeof source === 'string' ? directoryEntries(source) : memoryEntries((await verifyPlace(source)).files)
  const signer = signing === null ? null : await signerOf(signing, options.passphrase)
  const image = await makeImage({ entries, out, signer, progress }, signal)
  return {
    result: { ...image, out },
    text: [
      `image     ${imageFiles(out).image}: ${image.tree.files} files, ${image.blocks} blocks, by ${image.tool}`,
      `root hash ${image.rootHash}`,
      image.signer === null
        ? 'unsigned  whoever can change the image can change its root hash too'
        : `signed    by the key of certificate ${image.signer}`,
    ],
  }
}

async function signerOf(
  { key, certificate }: { readonly key: string; readonly certificate: string },
  passphrase: (file: string) => Promise<Secret>,
) {
  const trusted = await readCertificate(certificate)
  return readImageKey(key, trusted, passphrase)
}

/** What the image is held against: a certificate, or a root hash that came by a way of its own. */
export type ImageTrust = { readonly certificate: string } | { readonly rootHash: Digest }

export interface ImageVerifyResult {
  readonly rootHash: Digest
  readonly blocks: number
  /** SHA-256 of the certificate that was believed. */
  readonly signer: Digest | null
}

/** `strongroom seal image verify`: the signature, then every block. Throws what is wrong. */
export async function verifyImageCommand(
  out: string,
  trust: ImageTrust,
  progress: ImageProgress,
  signal: AbortSignal,
): Promise<SealReport<ImageVerifyResult>> {
  const files = imageFiles(out)
  const { rootHash, signer } =
    'rootHash' in trust
      ? { rootHash: trust.rootHash, signer: null }
      : await believed(files.rootHash, files.signature, trust.certificate)
  await using image = await openReadable(files.image, 'r')
  await using tree = await openReadable(files.tree, 'r')
  const { dataBlocks } = await verifyVerity(image, tree, rootHash, {
    progress: (done, total) => progress('verified', done, total),
    signal,
  })
  await requireFileSystem(image)
  return {
    result: { rootHash, blocks: dataBlocks, signer },
    text: [
      `root hash ${rootHash}`,
      signer === null ? 'trusted   as it was given' : `signed    by the key of certificate ${signer}`,
      `verified  all ${dataBlocks} blocks, as they are now; only dm-verity holds whoever reads them later to it`,
    ],
  }
}

/**
 * dm-verity does not tell a block of its tree from one of the image: the root hash fits the topmost block as well, as an image of
 * one block. Nobody makes a file system of those digests.
 */
async function requireFileSystem(image: Readable): Promise<void> {
  const first = new Uint8Array(erofsMagicAt + erofsMagic.byteLength)
  await image.read(first, 0)
  if (!erofsMagic.equals(first.subarray(erofsMagicAt)))
    throw new SealError('SEAL_IMAGE_NO_FILE_SYSTEM', 'the image has the root hash and is no EROFS')
}

async function believed(
  rootHashFile: string,
  signatureFile: string,
  certificateFile: string,
): Promise<{ readonly rootHash: Digest; readonly signer: Digest }> {
  const certificate = await readCertificate(certificateFile)
  const signature = await read(signatureFile, signatureBytesMax)
  const rootHash = (await read(rootHashFile, rootHashBytesMax)).parse(bytes => parseDigest(fromUtf8(bytes)))
  signature.parse(bytes => verifyDetachedSignature(bytes, signedContent(rootHash), certificate))
  return { rootHash, signer: certificate.fingerprint }
}

async function read(file: string, bytesMax: number): Promise<Untrusted<Uint8Array>> {
  const bytes = await reportingIo(() => readBounded(file, bytesMax))
  if (bytes === null) throw new SealError('SEAL_IMAGE_INCOMPLETE', `there is no file ${file}`)
  return bytes
}
