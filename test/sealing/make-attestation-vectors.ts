/*
 * Writes test/vectors/attestation/*.json: `node test/sealing/make-attestation-vectors.ts`. Needs swtpm. The keys are those of new
 * software TPMs, so other bytes come out each time; what is found in them must not change.
 */
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { softwareTpm } from '../tpm/swtpm.ts'
import { attestationCases } from './attestation-cases.ts'
import { encodeVector } from './attestation-vector.ts'

const directory = path.join(import.meta.dirname, '../vectors/attestation')
await using swtpm = await softwareTpm()
await using other = await softwareTpm()
for (const one of await attestationCases(swtpm, other))
  writeFileSync(path.join(directory, `${one.name}.json`), encodeVector(one))
