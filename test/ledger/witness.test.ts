import { describe, expect, it } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { CodedError } from '../../src/base/errors.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import { formatCheckpoint, verifyCosignatureLine } from '../../src/ledger/checkpoint.ts'
import { WitnessConflict } from '../../src/ledger/errors.ts'
import { Frontier, leafHash, perfectRoot } from '../../src/ledger/merkle.ts'
import { consistencyProof } from '../../src/ledger/proofs.ts'
import { signCheckpoint } from '../../src/ledger/signing.ts'
import {
  admit,
  encodeWitnessState,
  examine,
  parseWitnessState,
  type WitnessState,
} from '../../src/ledger/witness.ts'
import { codeOf, hsm, hsmKey, logKey, logSigner, origin, start, testSigner } from './support.ts'

/** A ledger of plain leaves, of which `fork` tells the tenth. */
function history(fork: string) {
  const leaves = Array.from({ length: 50 }, (_, at) => leafHash(utf8(at === 9 ? fork : `${at}`)))
  const root = (size: number) => {
    const frontier = new Frontier()
    for (const leaf of leaves.slice(0, size)) frontier.push(leaf)
    return frontier.root()
  }
  const subtree = async (height: number, index: number) =>
    perfectRoot(leaves.slice(index * 2 ** height, (index + 1) * 2 ** height))
  return async (fromSize: number, size: number, signer = logSigner, name = origin) => {
    const signed = await signCheckpoint({ origin: name, size, root: root(size) }, signer)
    const proof = fromSize <= size ? await consistencyProof({ subtree }, fromSize, size) : []
    return { checkpoint: new Untrusted(formatCheckpoint(signed)), fromSize, proof }
  }
}

const honest = history('9')
const forked = history('another')
const seen = (size: number) => honest(0, size).then(submission => examine(null, submission, logKey))
const fault = (state: WitnessState | null, submission: Awaited<ReturnType<typeof honest>>) =>
  codeOf(() => examine(state, submission, logKey))

describe('a witness', () => {
  it('follows a ledger that only grows, and cosigns each checkpoint', async () => {
    let state: WitnessState | null = null
    for (const size of [0, 1, 7, 7, 20, 50]) {
      const before: number = state?.size ?? 0
      const { state: next, cosignature } = await admit(state, await honest(before, size), logKey, hsm, start)
      expect(next.size).toBe(size)
      expect(verifyCosignatureLine(new Untrusted(cosignature), next, [hsmKey]).time).toEqual(start)
      state = next
    }
  })

  it('tells the size to start from', async () => {
    const error = await honest(5, 20).then(submission => {
      try {
        return examine({ origin, size: 7, root: new Uint8Array(32) }, submission, logKey)
      } catch (thrown) {
        return thrown
      }
    })
    expect(error).toBeInstanceOf(WitnessConflict)
    expect(error).toMatchObject({ code: 'LEDGER_WITNESS_CONFLICT', size: 7 })
    expect(await fault(null, await honest(5, 20))).toBe('LEDGER_WITNESS_CONFLICT')
  })

  it('raises an alarm at a ledger that shrinks', async () => {
    expect(await fault(await seen(20), await honest(20, 12))).toBe('LEDGER_BACKWARDS')
    expect(await fault(await seen(20), await honest(0, 12))).toBe('LEDGER_BACKWARDS')
  })

  it('raises an alarm at a rewritten history', async () => {
    expect(await fault(await seen(20), await forked(20, 20))).toBe('LEDGER_FORKED')
    expect(await fault(await seen(20), await forked(20, 30))).toBe('LEDGER_FORKED')
    expect(await fault(await seen(20), { ...(await honest(20, 30)), proof: [] })).toBe('LEDGER_FORKED')
    expect(
      await fault(await seen(20), { ...(await forked(20, 30)), proof: (await honest(20, 30)).proof }),
    ).toBe('LEDGER_FORKED')
  })

  it('accepts a fork that lies after what it has seen', async () => {
    expect(examine(await seen(5), await forked(5, 30), logKey).size).toBe(30)
  })

  it('refuses what the ledger has not signed', async () => {
    expect(await fault(null, await honest(0, 5, testSigner(9)))).toBe('LEDGER_SIGNATURE')
    expect(await fault(null, await honest(0, 5, logSigner, 'example.org/other'))).toBe('LEDGER_ORIGIN')
    expect(await fault({ ...(await seen(5)), origin: 'example.org/x' }, await honest(5, 6))).toBe(
      'LEDGER_ORIGIN',
    )
    expect(await fault(null, { checkpoint: new Untrusted('junk'), fromSize: 0, proof: [] })).toBe(
      'LEDGER_NOTE_INVALID',
    )
  })

  it('keeps its state in a file', async () => {
    const state = await seen(20)
    expect(parseWitnessState(encodeWitnessState(state))).toEqual(state)
    for (const text of ['', '{}', '{"origin":"a b","size":1,"root":""}', '[1]'])
      expect(() => parseWitnessState(utf8(text))).toThrow(CodedError)
  })
})
