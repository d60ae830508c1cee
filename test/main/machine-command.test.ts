import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { parseJson } from '../../src/base/json.ts'
import { encodeMachine, machineFile } from '../../src/sealing/machine.ts'
import { attestationVector, expectationOf } from '../sealing/attestation-vector.ts'
import { scratch } from '../support/scratch.ts'

/* As processes, without a terminal; the service that runs meanwhile is in attestation.test.ts and attested-release.test.ts. */

const strongroom = path.join(import.meta.dirname, '../../bin/strongroom')
const vectorFile = path.join(import.meta.dirname, '../vectors/attestation/ok-platform.json')
const { machine } = expectationOf(
  attestationVector(parseJson(readFileSync(vectorFile), { bytesMax: 200_000 })),
)

const key = Buffer.alloc(32).toString('base64')
const roles = {
  hsm: { services: '/nowhere/s', tokenLabel: 'none', pinFile: '/nowhere/pin' },
  management: { qrexec: '/nowhere/q', api: '/nowhere/a', keys: { dom0: key, hsm: key } },
}

it.each(Object.entries(roles))(
  'strongroom %s machine shows the machine, and forgets it when told to',
  (role, own) => {
    const home = scratch('machine')
    const settings = path.join(home, 'settings.json')
    writeFileSync(settings, JSON.stringify({ home, ...own }))
    const run = (...words: readonly string[]) => {
      const all = [role, 'machine', '--settings', settings, ...words]
      const { status, stdout, stderr } = spawnSync(strongroom, all, { encoding: 'utf8' })
      return { status, stdout, stderr }
    }
    expect(run()).toEqual({
      status: 0,
      stdout: 'no machine is known: the next one that answers is\n',
      stderr: '',
    })

    writeFileSync(machineFile(home), encodeMachine(machine))
    const shown = run()
    expect(shown).toMatchObject({ status: 0, stderr: '' })
    expect(shown.stdout).toMatch(
      new RegExp(
        `^tpm {8}${machine.endorsement}, .*\nkey .*\nstore .*PCR 14\nplatform {3}PCR .* as when .*\ncounter`,
      ),
    )
    expect(JSON.parse(run('--json').stdout).result.machine).toMatchObject({
      endorsement: machine.endorsement,
    })

    const declined = run('--forget')
    expect([declined.status, declined.stdout]).toEqual([130, ''])
    expect(declined.stderr).toMatch(/It is maintenance if .*the machine is still known \(SEAL_DECLINED\)/s)
    expect(existsSync(machineFile(home))).toBe(true)

    expect(run('--forget', '--yes')).toMatchObject({
      status: 0,
      stdout: expect.stringContaining('forgotten  the next'),
    })
    expect(existsSync(machineFile(home))).toBe(false)
  },
)
