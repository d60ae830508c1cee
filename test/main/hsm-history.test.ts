import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { history } from '../../src/main/hsm-commands.ts'

const home = mkdtempSync(path.join(tmpdir(), 'strongroom-history-'))
afterAll(() => rmSync(home, { recursive: true }))

it('tells a program what the record says, in the words of the record', async () => {
  const released = {
    ...{ time: '2026-11-27T22:06:30.950Z', outcome: 'allowed', call: 'release', caller: 'dom0' },
    ...{ profile: 'nightly', job: '20261127T220630Z-a940c39f', purpose: 'backup', epoch: 1, index: 3 },
    ...{ nonce: 'b3'.repeat(32), code: null },
    witness: { origin: 'strongroom/11672d83f285a0dd', size: 4, root: '18'.repeat(32) },
  }
  const { witness: _, ...before } = { ...released, outcome: 'refused', code: 'HSM_REFUSED_LIMIT' }
  const lines = [before, released].map(one => JSON.stringify(one))
  writeFileSync(path.join(home, 'releases.jsonl'), `${lines.join('\n')}\n`, { mode: 0o600 })
  const { result } = await history(home, undefined)
  expect(JSON.parse(JSON.stringify(result))).toEqual([before, released])
})
