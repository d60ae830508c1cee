import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { parseJson } from '../../src/base/json.ts'
import { attestationFindings } from '../../src/sealing/findings.ts'
import { verifyAttestation } from '../../src/sealing/verify-attestation.ts'
import { attestationOf, attestationVector, expectationOf } from './attestation-vector.ts'

/* The verifier alone: recorded attestations, no TPM. */

const directory = path.join(import.meta.dirname, '../vectors/attestation')
const vectors = readdirSync(directory)
  .filter(file => file.endsWith('.json'))
  .map(file => attestationVector(parseJson(readFileSync(path.join(directory, file)), { bytesMax: 200_000 })))

test('the vectors are there: honest ones, and one at least for each finding', () => {
  expect(vectors.filter(({ accepted }) => accepted).length).toBeGreaterThan(6)
  expect(new Set(vectors.flatMap(({ findings }) => findings))).toEqual(
    new Set(Object.keys(attestationFindings)),
  )
})

test.each(vectors)('$name: $comment', vector => {
  const { isAccepted, findings } = verifyAttestation(attestationOf(vector), expectationOf(vector))
  expect([...new Set(findings.map(({ code }) => code))].sort()).toEqual(vector.findings)
  expect(isAccepted).toBe(vector.accepted)
})

test('the reference page tells every finding', () => {
  const page = readFileSync(path.join(import.meta.dirname, '../../docs/reference/attestation.md'), 'utf8')
  for (const [code, { severity, meaning, hint }] of Object.entries(attestationFindings))
    expect(page).toContain(`| \`${code}\` | ${severity} | ${meaning} | ${hint} |`)
})
