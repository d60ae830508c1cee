import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { PassThrough } from 'node:stream'
import { afterAll, describe, expect, it } from 'vitest'
import { pinFromCredential, pinFromFile, pinFromTerminal } from '../../src/hsm/pin.ts'
import { codeOf, never, textOf } from './support.ts'

const directory = mkdtempSync(path.join(tmpdir(), 'strongroom-pin-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

function pinFile(content: string, mode = 0o600): string {
  const file = path.join(
    directory,
    `${content.length}-${mode}-${Buffer.from(content).toString('hex').slice(0, 40)}`,
  )
  writeFileSync(file, content)
  chmodSync(file, mode)
  return file
}

describe('a PIN file', () => {
  it.each(['123456', '123456\n', '123456\r\n'])('%j holds the PIN', async content => {
    using pin = await pinFromFile(pinFile(content)).fetch(never)
    expect(textOf(pin)).toBe('123456')
  })

  it('is read anew each time', async () => {
    const source = pinFromFile(pinFile('first1'))
    expect(textOf(await source.fetch(never))).toBe('first1')
    writeFileSync(pinFile('first1'), 'second')
    expect(textOf(await source.fetch(never))).toBe('second')
  })

  it.each([0o640, 0o604, 0o660, 0o610, 0o602])('of mode %o is refused', async mode => {
    expect(await codeOf(() => pinFromFile(pinFile('123456', mode)).fetch(never))).toBe(
      'HSM_PIN_FILE_OPEN_TO_OTHERS',
    )
  })

  it.each(['', '\n', '123', 'x'.repeat(256), 'x'.repeat(5000), '1234\n5678', '1234\0', '1234ä'])(
    'with %j is refused',
    async content => {
      expect(await codeOf(() => pinFromFile(pinFile(content)).fetch(never))).toBe('HSM_PIN_INVALID')
    },
  )

  it('that is missing or a link is unavailable', async () => {
    expect(await codeOf(() => pinFromFile(path.join(directory, 'none')).fetch(never))).toBe(
      'HSM_PIN_UNAVAILABLE',
    )
    symlinkSync(pinFile('123456'), path.join(directory, 'link'))
    expect(await codeOf(() => pinFromFile(path.join(directory, 'link')).fetch(never))).toBe(
      'HSM_PIN_UNAVAILABLE',
    )
    const pipe = path.join(directory, 'pipe')
    execFileSync('mkfifo', ['-m', '600', pipe])
    expect(await codeOf(() => pinFromFile(pipe).fetch(never))).toBe('HSM_PIN_UNAVAILABLE')
  })
})

describe('a credential of the service manager', () => {
  const credential = path.join(directory, 'strongroom-pin')
  const give = (content: string, mode: number) => {
    rmSync(credential, { force: true })
    writeFileSync(credential, content)
    chmodSync(credential, mode)
  }

  it.each([0o400, 0o440, 0o600])(
    'of mode %o holds the PIN: who else may read it is in its directory',
    async mode => {
      give('123456\n', mode)
      using pin = await pinFromCredential(credential).fetch(never)
      expect(textOf(pin)).toBe('123456')
    },
  )

  it.each([0o444, 0o404, 0o420, 0o460])('of mode %o is refused', async mode => {
    give('123456', mode)
    expect(await codeOf(() => pinFromCredential(credential).fetch(never))).toBe('HSM_PIN_FILE_OPEN_TO_OTHERS')
  })

  it('that was not passed is unavailable', async () => {
    rmSync(credential, { force: true })
    expect(await codeOf(() => pinFromCredential(credential).fetch(never))).toBe('HSM_PIN_UNAVAILABLE')
  })
})

describe('a terminal', () => {
  function terminal() {
    const modes: boolean[] = []
    const input = Object.assign(new PassThrough(), {
      isTTY: true,
      setRawMode: (raw: boolean) => modes.push(raw),
    })
    const output = new PassThrough()
    return { input, output, modes, shown: () => String(output.read()) }
  }

  it('is asked without echo', async () => {
    const one = terminal()
    const asked = pinFromTerminal('PIN: ', one).fetch(never)
    one.input.write('12345')
    one.input.write('9\u007f6\rrest')
    using pin = await asked
    expect(textOf(pin)).toBe('123456')
    expect(one.shown()).toBe('PIN: \n')
    expect(one.modes).toEqual([true, false])
  })

  it.each([
    ['^C', '12\u0003', 'CANCELLED'],
    ['^D', '\u0004', 'CANCELLED'],
    ['too little', '12\r', 'HSM_PIN_INVALID'],
    ['far too much', `${'1'.repeat(1000)}\r`, 'HSM_PIN_INVALID'],
  ])('with %s gives no PIN, and gets its echo back', async (_, typed, code) => {
    const one = terminal()
    const asked = codeOf(() => pinFromTerminal('PIN: ', one).fetch(never))
    one.input.write(typed)
    expect(await asked).toBe(code)
    expect(one.modes).toEqual([true, false])
  })

  it('that is closed, or is none, gives no PIN', async () => {
    const one = terminal()
    const asked = codeOf(() => pinFromTerminal('PIN: ', one).fetch(never))
    one.input.end()
    expect(await asked).toBe('HSM_PIN_UNAVAILABLE')
    const pipe = { input: new PassThrough(), output: new PassThrough() }
    expect(await codeOf(() => pinFromTerminal('PIN: ', pipe).fetch(never))).toBe('HSM_PIN_UNAVAILABLE')
  })

  it('is asked once, and again after ^C or a refusal', async () => {
    const one = terminal()
    const source = pinFromTerminal('PIN: ', one)
    const typed = async (text: string) => {
      const asked = source.fetch(never)
      one.input.write(text)
      using pin = await asked
      return textOf(pin)
    }
    expect(await codeOf(() => typed('12\u0003'))).toBe('CANCELLED')
    expect(await typed('111111\r')).toBe('111111')
    using kept = await source.fetch(never)
    expect(textOf(kept)).toBe('111111')
    source.refused()
    expect(await typed('222222\r')).toBe('222222')
    expect(one.modes).toEqual([true, false, true, false, true, false])
  })

  it('that nobody answers holds up nothing beyond the call', async () => {
    const one = terminal()
    const source = pinFromTerminal('PIN: ', one)
    const late = new AbortController()
    const asked = source.fetch(late.signal)
    one.input.write('99')
    late.abort(new Error('too late'))
    await expect(asked).rejects.toThrow('too late')
    expect(one.modes).toEqual([true, false])
    const again = source.fetch(never)
    one.input.write('123456\r')
    using pin = await again
    expect(textOf(pin)).toBe('123456')
  })
})
