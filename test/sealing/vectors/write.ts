import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fromUtf8 } from '../../../src/base/bytes.ts'
import type { Floor } from '../../../src/sealing/floor.ts'
import type { RootPin } from '../../../src/sealing/pin.ts'
import { namedFiles, type StoreFiles } from '../../../src/sealing/store-files.ts'
import { now } from '../fixture.ts'

const directory = path.join(import.meta.dirname, '../../vectors/seal')

export interface Vector {
  readonly expect: string
  readonly comment: string
  readonly files: StoreFiles
  readonly pin: RootPin
  readonly floor?: Floor
  readonly update?: StoreFiles
  readonly now?: Date
  readonly pad?: { readonly file: string; readonly bytes: number }
}

export async function write(name: string, vector: Vector): Promise<void> {
  const texts = (files: StoreFiles) =>
    Object.fromEntries(namedFiles(files).map(([file, bytes]) => [file, fromUtf8(bytes)]))
  const { expect, comment, pin, floor = null, pad } = vector
  const value = {
    name,
    expect,
    comment,
    now: (vector.now ?? now).toISOString(),
    pin,
    floor,
    files: texts(vector.files),
    ...(vector.update ? { update: texts(vector.update) } : {}),
    ...(pad ? { pad } : {}),
  }
  await writeFile(path.join(directory, `${name}.json`), `${JSON.stringify(value, null, 1)}\n`)
}
