import { randomBytes } from 'node:crypto'
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { sha256 } from '../../src/crypto/digest.ts'
import { Claims } from '../../src/repository/claims.ts'

const idOf = (number: number) => sha256(Buffer.from(`blob ${number}`))

test('a blob is claimed once, also when ids begin alike', () => {
  const claims = Claims.of(3000)
  const alike = Array.from({ length: 500 }, () => Buffer.concat([Buffer.alloc(8, 1), randomBytes(24)]))
  for (const id of alike) expect(claims.claim(id)).toBe(true)
  for (const id of alike) expect(claims.claim(id)).toBe(false)
  for (let number = 0; number < 2000; number++) expect(claims.claim(idOf(number))).toBe(true)
  expect(claims.count).toBe(2500)
})

test('a larger table has the same claims', () => {
  const claims = Claims.of(10)
  for (let number = 0; number < 10; number++) claims.claim(idOf(number))
  expect(() => claims.claim(idOf(10))).toThrow(RangeError)
  const grown = claims.grown(4000)
  for (let number = 0; number < 10; number++) expect(grown.claim(idOf(number))).toBe(false)
  expect(grown.claim(idOf(10))).toBe(true)
})

test('threads that want the same blobs divide them: each is claimed by exactly one', async () => {
  const count = 20_000
  const threads = 4
  const claims = Claims.of(count * threads)
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(workerData.module).then(({ Claims }) => {
      const claims = new Claims(workerData.share)
      const { createHash } = require('node:crypto')
      const start = new Int32Array(workerData.start)
      Atomics.add(start, 0, 1)
      while (Atomics.load(start, 0) < workerData.threads);
      let mine = 0
      for (let number = 0; number < workerData.count; number++)
        if (claims.claim(createHash('sha256').update('blob ' + number).digest())) mine += 1
      parentPort.postMessage(mine)
    })`
  const start = new SharedArrayBuffer(4)
  const module = new URL('../../src/repository/claims.ts', import.meta.url).href
  const mine = await Promise.all(
    Array.from({ length: threads }, () => {
      const workerData = { module, share: claims.share, start, threads, count }
      const worker = new Worker(code, { eval: true, workerData })
      return new Promise<number>((resolve, reject) => worker.once('message', resolve).once('error', reject))
    }),
  )
  expect(mine.reduce((sum, one) => sum + one, 0)).toBe(count)
  for (let number = 0; number < count; number++) expect(claims.claim(idOf(number))).toBe(false)
})
