/*
 * Run as a process of its own: replaces a table again and again by one with one index object more, and prints how many it has, until
 * it is killed or cannot write.
 */
import { systemEntropy } from '../../src/base/environment.ts'
import { CodedError } from '../../src/base/errors.ts'
import { RepositoryKey } from '../../src/crypto/aead.ts'
import { encodeIndex } from '../../src/repository/index.ts'
import { scanIndex } from '../../src/repository/index-scan.ts'
import { IndexTable } from '../../src/repository/index-table.ts'
import { IndexTableWriter } from '../../src/repository/index-table-writer.ts'
import { indexIdOf, samplePacks } from './table-fixture.ts'

const [path = '', keyHex = ''] = process.argv.slice(2)
const key = new RepositoryKey(new Uint8Array(Buffer.from(keyHex, 'hex')))
try {
  for (;;) {
    await using base = await IndexTable.open(path, key, new AbortController().signal)
    const count = base?.indexes.length ?? 0
    await using writer = await IndexTableWriter.begin(path, base, systemEntropy)
    await writer.add(indexIdOf(count), scanIndex(encodeIndex(samplePacks(String(count), 20, 50))))
    await writer.finish(key)
    process.stdout.write(`${count + 1}\n`)
  }
} catch (error) {
  process.stdout.write(`${error instanceof CodedError ? error.code : error}\n`)
}
