import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { toHex, utf8 } from '../../src/base/bytes.ts'
import { fields, is, parseJson } from '../../src/base/json.ts'
import { parseDigest } from '../../src/base/names.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import { sealingErrors } from '../../src/sealing/errors.ts'
import { type StoreFiles, storeFiles } from '../../src/sealing/store-files.ts'
import { verifyUpdate } from '../../src/sealing/successor.ts'
import { encodeUpdate, parseUpdate } from '../../src/sealing/update.ts'
import { verifyStore } from '../../src/sealing/verify.ts'
import { codeOf } from '../support/code-of.ts'

const directory = path.join(import.meta.dirname, '../vectors/seal')
const textLengthMax = 1024 * 1024
const version = is.integer(1)
const digest = is.name(parseDigest)
const texts = is.record(is.string(textLengthMax), name => name, 100)

const vector = fields('vector', {
  name: is.string(),
  expect: is.string(),
  comment: is.string(),
  now: is.time,
  pin: fields('pin', { version, digest }),
  floor: is.nullable(fields('floor', { version, digest, rootVersion: version })),
  files: texts,
  update: is.optional(texts),
  pad: is.optional(fields('pad', { file: is.string(), bytes: is.integer(1) })),
})
type Vector = ReturnType<typeof vector>

const vectors = readdirSync(directory)
  .filter(file => file.endsWith('.json'))
  .map(file => vector(parseJson(readFileSync(path.join(directory, file)), { bytesMax: textLengthMax })))

function filesOf(named: Readonly<Record<string, string>>, { pad }: Vector): StoreFiles {
  return storeFiles(
    Object.entries(named).map(
      ([name, text]) => [name, utf8(name === pad?.file ? text.padEnd(pad.bytes) : text)] as const,
    ),
  )
}

function run(one: Vector) {
  const files = filesOf(one.files, one)
  if (one.update === undefined) return verifyStore(files, one.pin, one.floor, one.now)
  // Through the form in which it travels.
  const update = new Untrusted(encodeUpdate(filesOf(one.update, one))).parse(parseUpdate)
  return verifyUpdate(files, update, one.pin, one.now).configuration
}

test('the vectors are there, honest ones among them', () => {
  expect(vectors.length).toBeGreaterThan(80)
  expect(vectors.filter(one => one.expect === 'ok').length).toBeGreaterThan(6)
})

describe.each([['ok'], ['fault']])('%s', kind => {
  test.each(vectors.filter(one => (one.expect === 'ok') === (kind === 'ok')))(
    '$name: $comment',
    async one => {
      expect(await codeOf(() => run(one))).toBe(one.expect)
    },
  )
})

test('an expired store says so and keeps its files', () => {
  const expired = vectors.find(one => one.name === 'ok-expired')
  const fresh = vectors.find(one => one.name === 'ok-second-version')
  if (expired === undefined || fresh === undefined) throw new Error('vectors are missing')
  const [late, early] = [run(expired), run(fresh)]
  expect([late.expired, early.expired]).toEqual([true, false])
  expect([...late.files].map(([name, bytes]) => [name, toHex(bytes)])).toEqual(
    [...early.files].map(([name, bytes]) => [name, toHex(bytes)]),
  )
})

test('each vector is named in its file, and its expectation is in the catalogue', () => {
  for (const one of vectors)
    if (one.expect !== 'ok') expect(Object.keys(sealingErrors), one.name).toContain(one.expect)
})
