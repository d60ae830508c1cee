import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { scratch } from '../support/scratch.ts'

/* As processes: where the PIN comes from, and what is remembered of a wrong one when they have ended. */

const strongroom = path.join(import.meta.dirname, '../../bin/strongroom')
const pin = '24681357'

it('takes the PIN from the service manager, sends a wrong one once, and hears a person', async () => {
  const home = scratch('hsm-pin')
  const [settings, credentials] = [path.join(home, 'settings.json'), path.join(home, 'credentials')]
  const credential = path.join(credentials, 'strongroom-pin')
  mkdirSync(credentials, { mode: 0o700 })
  const softhsmConfiguration = path.join(home, 'softhsm2.conf')
  writeFileSync(
    settings,
    JSON.stringify({ home, services: '/nowhere/s', tokenLabel: 'strongroom', softhsmConfiguration }),
  )
  const give = (text: string) => {
    rmSync(credential, { force: true })
    writeFileSync(credential, text, { mode: 0o400 })
  }
  const environment = { ...process.env, CREDENTIALS_DIRECTORY: credentials }
  const words = (command: string) => ['hsm', command, '--settings', settings, '--json']
  const run = (command: string) => {
    const { status, stdout, stderr } = spawnSync(strongroom, words(command), {
      encoding: 'utf8',
      env: environment,
    })
    return { status, ...JSON.parse(stdout || stderr) }
  }

  give(`${pin}\n`)
  expect(run('init')).toMatchObject({ status: 0, result: { recipient: expect.stringMatching(/^age1tag1/) } })

  give('99999999')
  expect(run('keys')).toMatchObject({
    code: 'HSM_PIN_WRONG',
    message: expect.stringMatching(/the PIN is wrong/),
  })
  // Another process, and the credential is another file, as after each start of a service.
  give('99999999')
  const again = run('keys')
  expect(again).toMatchObject({
    code: 'HSM_PIN_WRONG',
    message: expect.stringMatching(/refused this PIN before/),
  })
  const findings = run('doctor').result as readonly { readonly ok: boolean | null; readonly text: string }[]
  const texts = findings.map(({ text }) => text)
  expect(texts).toContain('PIN: the token counts wrong ones since the last right one')
  expect(texts).toContainEqual(expect.stringMatching(/^logs in: HSM_PIN_WRONG/))

  // `script` is a terminal, at which a person types.
  const typed = spawn('script', ['-qec', [strongroom, ...words('pin')].join(' '), '/dev/null'], {
    stdio: 'pipe',
  })
  let shown = ''
  typed.stdout.on('data', (bytes: Buffer) => {
    shown += bytes
    if (shown.endsWith('PIN of the token: ')) typed.stdin.write(`${pin}\r`)
  })
  const [status] = await once(typed, 'exit')
  expect([status, shown]).toEqual([0, expect.stringContaining('"accepted":true')])
  expect(shown).not.toContain(pin)

  give(pin)
  expect(run('keys')).toMatchObject({ status: 0 })
})
