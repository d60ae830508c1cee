import { sealedOverheadBytes } from '../crypto/aead.ts'
import type { CheckFindings } from './check-report.ts'
import { RepositoryError } from './errors.ts'
import { treeDepthMax } from './format.ts'
import { type BlobSource, listVolumes, locate, readTree } from './reader.ts'
import type { Snapshot } from './snapshot.ts'
import type { FileNode } from './tree.ts'

/* Snapshots down to their blobs: every tree opens, and every blob that a file needs is in an index. */

export async function checkSnapshots(
  source: BlobSource,
  snapshots: ReadonlyMap<string, Snapshot>,
  findings: CheckFindings,
  signal: AbortSignal,
): Promise<void> {
  const visited = new Set<string>()
  for (const [id, snapshot] of snapshots) {
    const object = { name: `snapshots/${id}`, id, missing: null }
    await findings.step(object, async () => {
      await checkTree(source, snapshot.tree, 1, visited, signal)
      await listVolumes(source, snapshot, signal)
    })
  }
}

async function checkTree(
  source: BlobSource,
  id: string,
  depth: number,
  visited: Set<string>,
  signal: AbortSignal,
): Promise<void> {
  if (visited.has(id)) return
  signal.throwIfAborted()
  if (depth > treeDepthMax)
    throw new RepositoryError('REPOSITORY_LIMIT', `trees nested deeper than ${treeDepthMax}`)
  for (const node of await readTree(source, id, signal))
    if (node.type === 'dir') await checkTree(source, node.subtree, depth + 1, visited, signal)
    else if (node.type === 'file') checkFile(source, node)
  visited.add(id)
}

function checkFile({ blobs }: BlobSource, { name, bytes, content }: FileNode): void {
  let sum = 0
  for (const id of content) {
    const { length, uncompressedLength } = locate(blobs, 'data', id)
    sum += uncompressedLength > 0 ? uncompressedLength : length - sealedOverheadBytes
  }
  if (sum !== bytes)
    throw new RepositoryError('REPOSITORY_FORMAT', `file '${name}' of ${bytes} bytes has blobs of ${sum}`)
}
