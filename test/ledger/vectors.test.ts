import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fromBase64 } from '../../src/base/bytes.ts'
import { fields, is, parseJson } from '../../src/base/json.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import { verifyCheckpoint } from '../../src/ledger/checkpoint.ts'
import { parseVerifierKey } from '../../src/ledger/note.ts'
import { verifyContinues, verifyEntry, verifyQuorum } from '../../src/ledger/verify.ts'
import { makeVectorCase } from './vector-case.ts'

const vectors = path.join(import.meta.dirname, '../vectors/ledger')

const hashes = is.array(is.name(fromBase64), 63)
const parseCase = fields('case', {
  log: is.name(parseVerifierKey),
  witnesses: is.array(is.name(parseVerifierKey), 9),
  index: is.integer(),
  entry: is.name(fromBase64),
  inclusion: hashes,
  olderSize: is.integer(),
  olderRoot: is.name(fromBase64),
  consistency: hashes,
})

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'ledger-vectors-'))
})
afterAll(async () => {
  await rm(directory, { recursive: true })
})

async function filesOf(root: string): Promise<Record<string, string>> {
  const found = (await readdir(root, { recursive: true, withFileTypes: true })).filter(one => one.isFile())
  const names = found.map(one => path.relative(root, path.join(one.parentPath, one.name))).sort()
  return Object.fromEntries(
    await Promise.all(
      names.map(async name => [name, (await readFile(path.join(root, name))).toString('base64')]),
    ),
  )
}

describe('the files that Go has verified', () => {
  it('are byte for byte what is written today', async () => {
    await makeVectorCase(directory)
    const recorded = await filesOf(path.join(vectors, 'log'))
    expect(Object.keys(recorded)).toHaveLength(8)
    expect(await filesOf(path.join(directory, 'log'))).toEqual(recorded)
    const name = 'case.json'
    expect(await readFile(path.join(directory, name), 'utf8')).toBe(
      await readFile(path.join(vectors, name), 'utf8'),
    )
  })

  it('verify with our public half too', async () => {
    const bytes = new Uint8Array(await readFile(path.join(vectors, 'case.json')))
    const vector = parseCase(parseJson(bytes, { bytesMax: 10_000 }))
    const note = new Untrusted(await readFile(path.join(vectors, 'log/checkpoint'), 'utf8'))
    const checkpoint = verifyCheckpoint(note, vector.log)
    expect(verifyQuorum(checkpoint, vector.witnesses, 2)).toHaveLength(2)
    verifyEntry(vector.entry, vector.index, vector.inclusion, checkpoint)
    const older = { origin: checkpoint.origin, size: vector.olderSize, root: vector.olderRoot }
    verifyContinues(older, checkpoint, vector.consistency)
  })
})
