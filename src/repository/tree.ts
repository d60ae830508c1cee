import { fromHex, utf8 } from '../base/bytes.ts'
import { is, parseJson } from '../base/json.ts'
import { release } from '../base/memory.ts'
import { parseDigest } from '../base/names.ts'
import { BlobIds } from './blob-ids.ts'
import { RepositoryError } from './errors.ts'
import { blobBytesMax, blobIdLength } from './format.ts'
import { knownFields, parseFormat } from './shape.ts'

/* "Trees and Data": a directory is a blob of JSON, its nodes sorted by name in byte order. */

export interface FileNode {
  readonly type: 'file'
  readonly name: string
  readonly bytes: number
  readonly content: BlobIds
}
export interface DirectoryNode {
  readonly type: 'dir'
  readonly name: string
  /** 64 hex digits. */
  readonly subtree: string
}
/** Links, devices and the like, which only stock restic writes. */
export interface OtherNode {
  readonly type: 'other'
  readonly name: string
}
export type TreeNode = FileNode | DirectoryNode | OtherNode

const fileMode = 0o600
/** Go's os.FileMode: a directory is bit 31. */
const directoryMode = 0o20000000700
/** The same for ever, so that the tree of a volume that did not change is the same blob again. */
const constantTime = '1970-01-01T00:00:00Z'
const nodesMax = 10_000
const idsMax = blobBytesMax.tree / (2 * blobIdLength)

/** Names that need no quoting: neither Go's nor JSON's. */
const plainName = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/

export function encodeTree(nodes: readonly (FileNode | DirectoryNode)[]): Uint8Array {
  const sorted = nodes.toSorted((a, b) => Buffer.compare(utf8(a.name), utf8(b.name)))
  const parts = [utf8('{"nodes":[')]
  for (const [index, node] of sorted.entries()) {
    if (!plainName.test(node.name) || node.name === sorted[index - 1]?.name)
      throw new RepositoryError(
        'VOLUME_UNSUITABLE',
        'a name of a VM or volume has no place in a tree, or is there twice',
      )
    if (index > 0) parts.push(utf8(','))
    parts.push(...(node.type === 'file' ? encodeFile(node) : [utf8(JSON.stringify(directoryJson(node)))]))
  }
  parts.push(utf8(']}\n'))
  const tree = Buffer.concat(parts)
  // Of a volume of 64 GiB one of them has 17 MiB.
  for (const part of parts) release(part)
  return tree
}

function commonJson(name: string, type: string, mode: number) {
  const time = { mtime: constantTime, atime: constantTime, ctime: constantTime }
  return { name, type, mode, ...time, uid: 0, gid: 0 }
}

function directoryJson({ name, subtree }: DirectoryNode) {
  return { ...commonJson(name, 'dir', directoryMode), content: null, subtree }
}

/** The ids are written as bytes: a string of a large volume's JSON would have a hundred million characters. */
function encodeFile({ name, bytes, content }: FileNode): readonly Uint8Array[] {
  const size = bytes > 0 ? { size: bytes } : {}
  const head = JSON.stringify({ ...commonJson(name, 'file', fileMode), ...size }).slice(0, -1)
  return [utf8(`${head},"content":[`), encodeIds(content), utf8(']}')]
}

/** `"<hex>"` and a comma between each two. */
function encodeIds(content: BlobIds): Uint8Array {
  const stride = 2 * blobIdLength + 3
  const text = Buffer.alloc(content.length * stride, ',')
  for (let index = 0; index < content.length; index++)
    text.write(`"${content.hexAt(index)}"`, index * stride, 'latin1')
  return text.subarray(0, Math.max(0, text.byteLength - 1))
}

const treeShape = knownFields('tree', { nodes: is.array(parseNode, nodesMax) })
const named = { name: is.string(1024) }
const anyNode = knownFields('node', { ...named, type: is.string(32) })
const directoryNode = knownFields('directory', { ...named, subtree: is.name(parseDigest) })
const fileNode = knownFields('file', {
  ...named,
  size: is.optional(is.integer(0)),
  content: is.nullable(parseIds),
})

function parseNode(untrustedNode: unknown): TreeNode {
  const { type, name } = anyNode(untrustedNode)
  if (type === 'dir') return { type, ...directoryNode(untrustedNode) }
  if (type !== 'file') return { type: 'other', name }
  const { size, content } = fileNode(untrustedNode)
  return { type, name, bytes: size ?? 0, content: content ?? new BlobIds() }
}

function parseIds(untrustedIds: unknown): BlobIds {
  if (!Array.isArray(untrustedIds) || untrustedIds.length > idsMax)
    throw new RepositoryError('REPOSITORY_LIMIT', `expected a list of at most ${idsMax} blob ids`)
  const ids = new BlobIds()
  for (const id of untrustedIds) ids.push(fromHex(typeof id === 'string' ? id : '', blobIdLength))
  return ids
}

/** The nodes, which must be sorted and different. Throws `REPOSITORY_FORMAT`. */
export function parseTree(untrustedPlaintext: Uint8Array): readonly TreeNode[] {
  return parseFormat('a tree', () => {
    const { nodes } = treeShape(parseJson(untrustedPlaintext, { bytesMax: blobBytesMax.tree }))
    for (const [index, { name }] of nodes.entries()) {
      const before = nodes[index - 1]
      if (before !== undefined && Buffer.compare(utf8(before.name), utf8(name)) >= 0)
        throw new RepositoryError(
          'REPOSITORY_FORMAT',
          'the nodes of a tree are not sorted, or are there twice',
        )
    }
    return nodes
  })
}
