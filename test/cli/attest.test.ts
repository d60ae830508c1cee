import { afterAll, beforeAll, expect, test } from 'vitest'
import type { MachineState } from '../../src/api/machine-watch.ts'
import { reportOf } from '../../src/base/errors.ts'
import { parseDigest } from '../../src/base/names.ts'
import { QrexecError } from '../../src/qrexec/errors.ts'
import { finding } from '../../src/sealing/findings.ts'
import { type Stand, startStand } from './harness.ts'

/* `strongroom attest`: what the API found, in words. */

const accepted: MachineState = {
  time: new Date('2026-11-24T12:00:00Z'),
  state: 'accepted',
  isKnown: true,
  machine: null,
  store: { version: 3, digest: parseDigest('ab'.repeat(32)) },
  findings: [finding('ATTEST_SOFTWARE_TPM', 'It was enrolled as such.')],
  error: null,
}

let latest: MachineState | null = null
let stand: Stand
beforeAll(async () => {
  stand = await startStand({
    machine: {
      get latest() {
        return latest
      },
      look: async () => latest,
    },
  })
})
afterAll(() => stand[Symbol.asyncDispose]())

test('accepted: each finding has its hint, and status one line', async () => {
  latest = accepted
  const { code, stdout, stderr } = await stand.run(['attest'])
  expect([code, stderr]).toEqual([0, ''])
  expect(stdout).toBe(
    [
      'accepted  2026-11-24 12:00:00Z',
      'in force  version 3, abababababab, by the ledger',
      '',
      'noted  The TPM is software: whoever owns the machine below it can make it say anything. It was enrolled as such. [ATTEST_SOFTWARE_TPM]',
      'hint: good for trying it out; protect nothing with it',
      '',
    ].join('\n'),
  )
  const status = await stand.run(['status'])
  expect(status.stdout).toContain('attestation    accepted, 2026-11-24 12:00:00Z\n')
  expect(status.stdout).toContain('no alarms')
})

test('refused: exit status 4, with the result for programs too', async () => {
  const found = finding('ATTEST_STORE_OLD', 'It uses version 2; in force is 3.')
  latest = { ...accepted, state: 'refused', findings: [found, ...accepted.findings] }
  const { code, stdout, stderr } = await stand.run(['attest'])
  expect(code).toBe(4)
  expect(stdout).toContain('hint: an update did not arrive, or an old disk was put back')
  expect(stderr).toContain('error: the machine is refused: ATTEST_STORE_OLD [CLI_MACHINE_REFUSED]')
  const json = await stand.run(['attest', '--json'])
  expect(json.code).toBe(4)
  expect(JSON.parse(json.stdout)).toMatchObject({
    v: 1,
    type: 'attestation',
    attestation: { state: 'refused', findings: [{ code: 'ATTEST_STORE_OLD' }, { severity: 'noted' }] },
  })
  expect(JSON.parse(json.stderr)).toMatchObject({ code: 'CLI_MACHINE_REFUSED', exit: 4 })
  expect((await stand.run(['status'])).stdout).toMatch(/1 alarm\n.*in force is 3\. \[ATTEST_STORE_OLD\]/)
})

test('a machine that was never accepted is no alarm', async () => {
  latest = { ...accepted, state: 'refused', isKnown: false }
  expect((await stand.run(['status'])).stdout).toContain('no alarms')
})

test('no answer: its own exit status', async () => {
  const error = reportOf(new QrexecError('QREXEC_TIMEOUT', 'dom0 is slow'))
  latest = { ...accepted, state: 'unanswered', findings: [], error }
  const { code, stdout, stderr } = await stand.run(['attest'])
  expect([code, stdout.split('  ')[0]]).toEqual([15, 'unanswered'])
  expect(stderr).toContain('dom0 is slow [QREXEC_TIMEOUT]')
})

test('without a TPM there is nothing to tell', async () => {
  latest = null
  expect(await stand.run(['attest'])).toMatchObject({ code: 0, stdout: expect.stringContaining('no TPM') })
  expect((await stand.run(['attest', '--json'])).stdout).toBe(
    '{"v":1,"type":"attestation","attestation":null}\n',
  )
  expect((await stand.run(['status'])).stdout).not.toContain('attestation')
})

test('a service that follows no ledger asks nobody', async () => {
  await using other = await startStand()
  expect(await other.run(['attest'])).toMatchObject({
    code: 10,
    stderr: expect.stringContaining('API_ATTESTATION_OFF'),
  })
})
