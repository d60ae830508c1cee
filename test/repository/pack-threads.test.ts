import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemEntropy } from '../../src/base/environment.ts'
import { RepositoryKey } from '../../src/crypto/aead.ts'
import { sha256, sha256Hex } from '../../src/crypto/digest.ts'
import { PackBuilder, readPackHeader } from '../../src/repository/pack.ts'
import { PackThreads } from '../../src/repository/pack-threads.ts'
import type { PackWork } from '../../src/repository/pack-work.ts'
import { codeOf } from '../support/code-of.ts'
import { MiB } from './fixtures.ts'

const blobBytes = MiB
const blobs = Array.from({ length: 3 }, () => new Uint8Array(randomBytes(blobBytes)))
let key: RepositoryKey
let threads: PackThreads
let body: Uint8Array

beforeEach(() => {
  key = RepositoryKey.generate(systemEntropy)
  threads = new PackThreads(key)
  const builder = new PackBuilder('data', key, systemEntropy)
  for (const blob of blobs) builder.add(sha256(blob), blob, 0)
  body = builder.finish().body
})
afterEach(() => {
  threads[Symbol.dispose]()
  key[Symbol.dispose]()
})

function work(kind: 'open' | 'check', change: (bytes: Uint8Array) => void = () => {}): PackWork {
  const untrustedBytes = Uint8Array.from(body)
  const inPack = readPackHeader(key, body)
  change(untrustedBytes)
  return { kind, id: sha256Hex(body), offset: 0, untrustedBytes, blobs: inPack }
}

/** Enough that threads are started; what was asked before ran on this one. */
const many = Array.from({ length: 16 })

describe('packs opened on threads', () => {
  test('have the same plaintexts as on this thread, in the order that was asked for', async () => {
    const plain = Buffer.concat(blobs)
    for (const opened of await Promise.all(many.map(() => threads.do(work('open')))))
      expect(Buffer.compare(opened, plain)).toBe(0)
    const { blobs: inPack, ...rest } = work('open')
    const reversed = await threads.do({ ...rest, blobs: inPack.toReversed() })
    expect(Buffer.compare(reversed, Buffer.concat(blobs.toReversed()))).toBe(0)
  })

  test('are checked as a whole', async () => {
    for (const answer of await Promise.all(many.map(() => threads.do(work('check')))))
      expect(answer.byteLength).toBe(0)
  })

  test('what a thread finds wrong is thrown here as the error that it is, and the thread goes on', async () => {
    const flip = (bytes: Uint8Array) => {
      bytes[100] = (bytes[100] ?? 0) ^ 1
    }
    await Promise.all(many.map(() => threads.do(work('open'))))
    expect(await codeOf(() => threads.do(work('open', flip)))).toBe('MAC_WRONG')
    expect(await codeOf(() => threads.do(work('check', flip)))).toBe('OBJECT_WRONG')
    const { blobs: inPack, ...rest } = work('check')
    expect(await codeOf(() => threads.do({ ...rest, blobs: inPack.slice(1) }))).toBe('PACK_DIFFERS')
    expect((await threads.do(work('open'))).byteLength).toBe(blobs.length * blobBytes)
  })

  test('a part of a larger buffer may be given, which stays as it is', async () => {
    const larger = new Uint8Array(body.byteLength + 10)
    larger.set(body, 10)
    for (const _ of many) {
      const part = { ...work('open'), untrustedBytes: larger.subarray(10) }
      expect((await threads.do(part)).byteLength).toBe(blobs.length * blobBytes)
    }
    expect(sha256Hex(larger.subarray(10))).toBe(sha256Hex(body))
  })

  test('work that waits when they end is refused', async () => {
    const asked = many.map(() => threads.do(work('open')))
    const settled = Promise.allSettled(asked)
    threads[Symbol.dispose]()
    const last = (await settled).at(-1)
    expect(last?.status).toBe('rejected')
  })
})
