/*
 * Writes test/vectors/seal/*.json: `node test/sealing/make-vectors.ts`. Keys come from fixed seeds, so the same files
 * come out each time. Each vector has one fault; everything else in it is in order, signatures included.
 */
import { changedBytes } from './vectors/changed-bytes.ts'
import { payloads } from './vectors/payloads.ts'
import { roots } from './vectors/roots.ts'
import { signatures } from './vectors/signatures.ts'
import { updates } from './vectors/updates.ts'
import { versions } from './vectors/versions.ts'

for (const make of [changedBytes, versions, signatures, payloads, roots, updates]) await make()
