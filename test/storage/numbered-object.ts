import { createHash } from 'node:crypto'
import { type ObjectName, objectName } from '../../src/storage/object-store.ts'

/** One of an endless row of different objects of 300 KB. */
export function numberedObject(number: number): { name: ObjectName; body: Uint8Array } {
  const body = Buffer.alloc(300_000, `object ${number} `)
  return { name: objectName('data', createHash('sha256').update(body).digest('hex')), body }
}
