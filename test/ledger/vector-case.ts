import { mkdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { toBase64 } from '../../src/base/bytes.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import { encodeEntry } from '../../src/ledger/entry.ts'
import { Ledger } from '../../src/ledger/log.ts'
import { formatVerifierKey } from '../../src/ledger/note.ts'
import { cosign } from '../../src/ledger/signing.ts'
import {
  hsm,
  hsmKey,
  jobEntries,
  jobEntry,
  logKey,
  management,
  managementKey,
  options,
  start,
} from './support.ts'

/** Makes the files of test/vectors/ledger; the same in every run. `node test/ledger/vector-case.ts <directory>` */
export async function makeVectorCase(directory: string): Promise<void> {
  const index = 137
  const olderSize = 200
  const log = path.join(directory, 'log')
  await rm(log, { recursive: true, force: true })
  await mkdir(log, { recursive: true })
  const ledger = await Ledger.create(log, options)
  await ledger.append(jobEntries(299))
  for (const { name, signer } of [hsm, management])
    await ledger.addCosignature(new Untrusted(await cosign(ledger.head, name, signer, start)), ledger.size)
  // As it is handed out; on disk the cosignatures are in `witness/`.
  await writeFile(path.join(log, 'checkpoint'), ledger.checkpoint())
  const vector = {
    log: formatVerifierKey(logKey),
    witnesses: [hsmKey, managementKey].map(formatVerifierKey),
    index,
    entry: toBase64(encodeEntry(jobEntry(index - 1))),
    inclusion: (await ledger.inclusion(index)).map(toBase64),
    olderSize,
    olderRoot: toBase64(await ledger.root(olderSize)),
    consistency: (await ledger.consistency(olderSize)).map(toBase64),
  }
  await writeFile(path.join(directory, 'case.json'), `${JSON.stringify(vector, null, 2)}\n`)
}

const [, script, directory] = process.argv
if (script === import.meta.filename && directory !== undefined) await makeVectorCase(directory)
