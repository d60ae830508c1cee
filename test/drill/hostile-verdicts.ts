import { closeSync, openSync, statSync, writeSync } from 'node:fs'
import type { ExpectStatic } from 'vitest'
import { KiB } from '../../src/base/bytes.ts'
import type { LevelResult } from '../../src/base/drill-levels.ts'
import { parseVolumeName } from '../../src/base/names.ts'
import { findings } from '../../src/drill/findings.ts'
import type { SandboxLimits } from '../../src/host/sandboxes.ts'
import { examine, noRules, type Volumes, vm } from './support.ts'

/** Ends as it has to, by a verdict of the sandbox itself; the image was not touched. */
export async function expectVerdict(
  volumes: Volumes,
  expected: readonly LevelResult[] = ['failed'],
  expectThat: ExpectStatic,
  limits: Partial<SandboxLimits> = {},
) {
  const before = stateOf(volumes)
  const { levels } = await examine(volumes, volumes.order(), { limits })
  const [one] = levels
  expectThat(levels).toHaveLength(1)
  expectThat(expected, one?.message).toContain(one?.result)
  expectThat(one?.message).not.toContain(findings.WORK_FAILED.text)
  expectThat(one?.message).not.toContain('no verdict')
  expectThat(stateOf(volumes)).toEqual(before)
}

/** A file that debugfs looks up in it: whatever comes of it, a verdict does. */
export async function expectLookUp(volumes: Volumes, path: string, expectThat: ExpectStatic) {
  const volume = parseVolumeName('hostile')
  const files = [{ vm, volume, path, sha256: null, ageDaysMax: null, contains: 'content' }]
  const order = volumes.order({ levels: ['files'], rules: { ...noRules, files } })
  const { levels } = await examine(volumes, order)
  expectThat(levels).toHaveLength(1)
  expectThat(levels[0]?.message).not.toContain(findings.WORK_FAILED.text)
  expectThat(levels[0]?.message).not.toContain('no verdict')
}

/** Which changes with every write. */
function stateOf(volumes: Volumes) {
  const { size, mtimeNs, ctimeNs } = statSync(volumes.file(volumes.names[0] ?? ''), { bigint: true })
  return { size, mtimeNs, ctimeNs }
}

/** Sparse: most of it is zeros. */
export function write(file: string, image: Buffer): void {
  const handle = openSync(file, 'r+')
  const zeros = Buffer.alloc(64 * KiB)
  for (let at = 0; at < image.byteLength; at += zeros.byteLength) {
    const part = image.subarray(at, at + zeros.byteLength)
    if (!part.equals(zeros.subarray(0, part.byteLength))) writeSync(handle, part, 0, part.byteLength, at)
  }
  closeSync(handle)
}
