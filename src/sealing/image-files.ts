import path from 'node:path'
import { toHex, utf8 } from '../base/bytes.ts'
import type { Digest } from '../base/names.ts'
import { sha256 } from '../crypto/digest.ts'
import { type VerityParameters, verityUuidBytes } from '../crypto/verity-format.ts'

/* The files of an image, named as systemd looks for them beside each other, and what in them follows from the tree. */

export interface ImageFiles {
  readonly image: string
  readonly tree: string
  /** 64 hex digits, without a line end: the very bytes that are signed. */
  readonly rootHash: string
  readonly signature: string
  /** What it was made of, for people and programs. Nobody believes it. */
  readonly description: string
}

export function imageFiles(directory: string): ImageFiles {
  const at = (name: string) => path.join(directory, name)
  return {
    image: at('image.raw'),
    tree: at('image.verity'),
    rootHash: at('image.roothash'),
    signature: at('image.roothash.p7s'),
    description: at('image.json'),
  }
}

export interface ImageIdentity {
  readonly fileSystemUuid: string
  readonly verity: VerityParameters
}

/** Salt and UUIDs are of the content alone: the same tree is the same image, and different trees share none of them. */
export function imageIdentity(treeDigest: Digest): ImageIdentity {
  const derived = (use: string) => sha256(utf8(`strongroom image ${use}\n${treeDigest}\n`))
  return {
    fileSystemUuid: uuidText(uuidOf(derived('file system'))),
    verity: { salt: derived('salt'), uuid: uuidOf(derived('hash tree')) },
  }
}

/** RFC 9562, version 8: made in a way of one's own. */
function uuidOf(digest: Uint8Array): Uint8Array {
  const uuid = digest.slice(0, verityUuidBytes)
  uuid[6] = ((uuid[6] ?? 0) & 0x0f) | 0x80
  uuid[8] = ((uuid[8] ?? 0) & 0x3f) | 0x80
  return uuid
}

export function uuidText(uuid: Uint8Array): string {
  return toHex(uuid).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}
