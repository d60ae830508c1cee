import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { systemClock } from '../../src/base/environment.ts'
import { parseJobId, parseVmName } from '../../src/base/names.ts'
import { listenSocket } from '../../src/host/local/socket.ts'
import { Approvals } from '../../src/hsm/approvals.ts'
import { attend } from '../../src/main/hsm-approvals.ts'
import { controlSocket } from '../../src/main/hsm-service.ts'
import { atTerminal } from '../support/terminal.ts'
import { Person } from './person.ts'
import { ask as askStock } from './stock-tools.ts'
import {
  buildFaultyModule,
  codeOf,
  label,
  never,
  officerPin,
  pin,
  secret,
  TestHsm,
  textOf,
} from './support.ts'
import { profile, World } from './world.ts'

/* Releases for which a person must give the PIN of the token with her yes. The token is a real SoftHSM. */

const strongroom = path.join(import.meta.dirname, '../../bin/strongroom')
const code = '1f2e-3d4c'
const wrong = '99999999'

let world: World
let person: Person
beforeEach(async () => {
  world = await World.start()
  world.binding = {
    ...world.binding,
    purposes: ['backup', 'restore'],
    approve: 'always',
    pinAgain: 'restore',
  }
  person = new Person(world)
})
afterEach(() => world.stop())

/** Asks as dom0 does for a restore, and lets her act each time that it waits. */
async function restore(...acts: readonly (() => Promise<void>)[]): Promise<string> {
  const { request, entry } = await world.request({ purpose: 'restore' })
  const left = [...acts]
  world.sleep = async () => {
    const act = left.shift()
    if (act === undefined) throw new Error('waits for ever')
    await act()
  }
  using passphrase = await world.remote().release(request, entry, never, () => {})
  expect(left).toEqual([])
  return textOf(passphrase)
}
const yes =
  (given: string | null = null) =>
  () =>
    person.say(code, 'approved', given)
const refused = (act: () => Promise<void>, expected: string) => async () => {
  await expect(act()).rejects.toMatchObject({ code: expected })
  expect(world.approvals.list()).toMatchObject([{ code, wantsPin: true }])
}

describe('a release that wants the PIN again', () => {
  it('goes on waiting at a yes without it, and is released at one with it', async () => {
    const passphrase = await restore(
      refused(yes(), 'HSM_PIN_WANTED'),
      refused(yes(wrong), 'HSM_PIN_WRONG'),
      yes(pin),
    )
    expect(passphrase).toHaveLength(43)
    // Neither the right one nor the wrong one is written anywhere.
    const files = readdirSync(world.directory, { recursive: true, withFileTypes: true })
      .filter(entry => entry.isFile())
      .map(entry => readFileSync(path.join(entry.parentPath, entry.name), 'latin1'))
    expect(world.logged.join('')).toContain('a wrong PIN was given for a release')
    for (const text of [...world.logged, ...files])
      for (const one of [pin, wrong]) expect(text).not.toContain(one)
  })

  it('is denied for good after two wrong ones, of which the same one was sent once', async () => {
    const denied = async () => {
      await expect(person.say(code, 'approved', wrong)).rejects.toMatchObject({
        code: 'HSM_PIN_WRONG',
        message: expect.stringMatching(/refused this PIN before.*; the release is denied$/),
      })
      await expect(person.say(code, 'approved', pin)).rejects.toMatchObject({ code: 'HSM_APPROVAL_MISSING' })
    }
    expect(await codeOf(() => restore(refused(yes(wrong), 'HSM_PIN_WRONG'), denied))).toBe(
      'HSM_REFUSED_DENIED',
    )
    await world.startHsm()
    expect(await codeOf(() => restore())).toBe('HSM_REFUSED_DENIED')
  })

  it('counts wrong ones that come at once', async () => {
    const atOnce = async () => {
      const said = ['11111111', '22222222', '33333333', pin].map(one =>
        codeOf(() => person.say(code, 'approved', one)),
      )
      expect(await Promise.all(said)).toEqual([
        'HSM_PIN_WRONG',
        'HSM_PIN_WRONG',
        'HSM_APPROVAL_MISSING',
        'HSM_APPROVAL_MISSING',
      ])
    }
    expect(await codeOf(() => restore(atOnce))).toBe('HSM_REFUSED_DENIED')
  })

  it('is denied without a PIN', async () => {
    expect(await codeOf(() => restore(() => person.say(code, 'denied')))).toBe('HSM_REFUSED_DENIED')
  })

  it('does not take the PIN of another token, whatever public key is in that', async () => {
    const other = new TestHsm()
    try {
      const token = other.token()
      await token.initialise(secret(officerPin), secret(pin), never)
      await token.generateKeys(never)
      const copied = path.join(world.directory, 'wrapping.der')
      const wrapping = ['--type', 'pubkey', '--label', 'strongroom-wrapping']
      await restore(
        async () => {
          person.hsm = other
          await refused(yes(pin), 'HSM_KEY_OTHER')()
          world.hsm.pkcs11Tool('--read-object', ...wrapping, '--output-file', copied)
          other.pkcs11Tool('--delete-object', ...wrapping)
          other.pkcs11Tool('--write-object', copied, ...wrapping)
          await refused(yes(pin), 'HSM_KEY_OTHER')()
        },
        async () => {
          person.hsm = world.hsm
          await yes(pin)()
        },
      )
    } finally {
      other.remove()
    }
  })

  it('goes on waiting where the token has one try left, or is locked', async () => {
    const fault = path.join(world.directory, 'fault')
    person.module = { modulePath: buildFaultyModule(world.directory), environment: { FAULT: fault } }
    const at = (name: string, expected: string) => async () => {
      writeFileSync(fault, name)
      await refused(yes(pin), expected)()
    }
    const sound = async () => {
      rmSync(fault)
      await yes(pin)()
    }
    expect(
      await restore(at('last-try', 'HSM_PIN_LAST_TRY'), at('locked', 'HSM_PIN_LOCKED'), sound),
    ).toHaveLength(43)
  })

  it('asks nothing of the token for a release that wants none', async () => {
    world.sleep = () => person.say(code, 'approved', wrong)
    const { request, entry } = await world.request()
    using passphrase = await world.remote().release(request, entry, never, () => {})
    expect(passphrase.byteLength).toBe(43)
  })
})

describe('stock restores', () => {
  it('follow the same rule, also where it is sealed while one waits', async () => {
    const { pinAgain } = world.binding
    const shown = () => world.approvals.list()[0]?.code ?? ''
    let look = 0
    world.sleep = async () => {
      look += 1
      if (look === 1)
        await expect(person.say(shown(), 'approved')).rejects.toMatchObject({ code: 'HSM_PIN_WANTED' })
      else await person.say(shown(), 'approved', pin)
    }
    expect(await askStock(world, 'strongroom.RestorePassphrase', profile)).toHaveLength(43)
    expect(look).toBe(2)

    world.binding = { ...world.binding, pinAgain: 'never' }
    world.sleep = async () => {
      await person.say(shown(), 'approved')
      world.binding = { ...world.binding, pinAgain }
    }
    expect(await askStock(world, 'strongroom.RestorePassphrase', profile)).toContain('HSM_REFUSED_REQUEST')
  })
})

it('a PIN that was given for one release is none for another of the same code', () => {
  const approvals = new Approvals(systemClock)
  const job = parseJobId('20261124T031500Z-1f2e3d4c')
  const expires = new Date(Date.now() + 60_000)
  const asked = {
    job,
    profile,
    purpose: 'restore',
    initiator: parseVmName('mgmt'),
    epoch: 1,
    expires,
  } as const
  approvals.isApproved(asked, true)
  const first = approvals.waiting(code)
  approvals.end(job)
  approvals.isApproved({ ...asked, epoch: 2 }, true)
  expect(() => approvals.decide(code, 'approved', first)).toThrow(
    expect.objectContaining({ code: 'HSM_PIN_WANTED' }),
  )
  expect(approvals.countWrongPin(first)).toBe(0)
  expect(approvals.decide(code, 'approved', approvals.waiting(code))).toMatchObject({ epoch: 2 })
})

describe('hsm attend', () => {
  let listener: Awaited<ReturnType<typeof listenSocket>>
  beforeEach(async () => {
    listener = await listenSocket(controlSocket(world.directory), stream => person.accept(stream))
  })
  afterEach(() => listener.close())

  /** A restore that dom0 orders, while somebody attends. */
  async function restored(): Promise<void> {
    const { request, entry } = await world.request({ purpose: 'restore' })
    world.sleep = milliseconds => new Promise(resolve => setTimeout(resolve, Math.min(milliseconds, 50)))
    using passphrase = await world.remote().release(request, entry, never, () => {})
    expect(passphrase.byteLength).toBe(43)
  }

  it('asks for the PIN at the terminal, unseen, and asks again after a wrong one', async () => {
    const settings = path.join(world.directory, 'settings.json')
    writeFileSync(
      settings,
      JSON.stringify({ home: world.directory, services: '/nowhere/s', tokenLabel: label }),
    )
    const [question, form] = [/The orderer must see 1f2e-3d4c\. \[yes\/no\] /, /PIN of the token: /]
    const [{ shown }] = await Promise.all([
      atTerminal(
        [strongroom, 'hsm', 'attend', '--settings', settings],
        [
          { after: question, type: 'yes\r' },
          { after: form, type: `${wrong}\r` },
          { after: /HSM_PIN_WRONG/, type: '' },
          { after: question, type: 'yes\r' },
          { after: form, type: `${pin}\r` },
          { after: /approved {2}1f2e-3d4c/, type: '\x03' },
        ],
      ),
      restored(),
    ])
    expect(shown).toContain('wants the PIN again')
    for (const one of [pin, wrong]) expect(shown).not.toContain(one)
  })

  // The window itself cannot be had here: in its place is what both programs promise of their words and their output.
  it('asks by the form of a dialog for passwords, and again after a wrong one', async () => {
    const programs = path.join(world.directory, 'programs')
    mkdirSync(programs)
    const given = path.join(programs, 'given')
    writeFileSync(given, `${wrong}\n${pin}\n`)
    const words = path.join(programs, 'words')
    writeFileSync(
      path.join(programs, 'zenity'),
      `#!/bin/sh\necho "$@" >>'${words}'\n[ "$1" = --password ] || exit 0\nhead -n 1 '${given}'\nsed -i 1d '${given}'\n`,
    )
    chmodSync(path.join(programs, 'zenity'), 0o755)
    vi.stubEnv('PATH', `${programs}:${process.env.PATH}`)
    const told = vi.spyOn(console, 'error').mockImplementation(() => {})
    const stop = new AbortController()
    try {
      const attended = attend(world.directory, 'zenity', stop.signal).catch((error: unknown) => error)
      await restored()
      stop.abort()
      await attended
      const lines = told.mock.calls.map(([line]) => String(line))
      expect(lines[1]).toMatch(/^HSM_PIN_WRONG {2}1f2e-3d4c: .*after 1 more the release is denied$/)
      expect(lines[2]).toBe(`approved  ${code}`)
      const forms = readFileSync(words, 'utf8')
      expect(forms.match(/^--password --title=Strongroom: PIN of the token$/gm)).toHaveLength(2)
      for (const one of [pin, wrong]) expect(forms).not.toContain(one)
    } finally {
      stop.abort()
      told.mockRestore()
      vi.unstubAllEnvs()
    }
  })
})
