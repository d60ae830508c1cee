import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { CodedError } from '../../src/base/errors.ts'
import { emptyPassword, run } from '../../src/tpm/device/command.ts'
import { extendPcr, readPcrs } from '../../src/tpm/device/pcrs.ts'
import { readProperties } from '../../src/tpm/device/properties.ts'
import { quotePcrs } from '../../src/tpm/device/quote.ts'
import { refusal } from '../../src/tpm/device/response-codes.ts'
import { startTpm } from '../../src/tpm/device/startup.ts'
import { openTpm, type Tpm } from '../../src/tpm/device/tpm.ts'
import { tpmErrors } from '../../src/tpm/errors.ts'
import { joined, u16 } from '../../src/tpm/public/marshal.ts'
import { codeOf } from '../support/code-of.ts'
import { signal, softwareTpm, withAttestationKey } from './swtpm.ts'

const digest = new Uint8Array(32).fill(3)

/** PCR_Read of PCR 14. */
const pcrRead = ['00000001', '00000001', '000b', '03', '004000', '00000001', '0020', '22'.repeat(32)].join('')
const honest = `8001${(10 + pcrRead.length / 2).toString(16).padStart(8, '0')}00000000${pcrRead}`

describe('a software TPM', () => {
  test('answers many at once, in their order', async () => {
    await using swtpm = await softwareTpm()
    const { tpm } = swtpm
    const reads = Array.from({ length: 20 }, async () => {
      await extendPcr(tpm, 14, digest, signal)
      return readPcrs(tpm, [14], signal)
    })
    const values = await Promise.all(reads)
    expect(values.at(-1)).toEqual(await readPcrs(tpm, [14], signal))
  })

  test('says that it is one', async () => {
    await using swtpm = await softwareTpm()
    expect(await readProperties(swtpm.tpm, signal)).toMatchObject({ model: 'SW   TPM', isSoftware: true })
  })

  test('may be started twice', async () => {
    await using swtpm = await softwareTpm()
    expect(await codeOf(() => startTpm(swtpm.tpm, signal))).toBe('ok')
  })

  test('that went away in between is found again', async () => {
    await using swtpm = await softwareTpm()
    await extendPcr(swtpm.tpm, 14, digest, signal)
    await swtpm.kill()
    expect(await codeOf(() => readPcrs(swtpm.tpm, [14], signal))).toBe('TPM_UNREACHABLE')
    await swtpm.start()
    expect(await codeOf(() => readPcrs(swtpm.tpm, [14], signal))).toBe('ok')
  })

  test('that goes away during a call: the error of the call, and nothing hangs', async () => {
    await using swtpm = await softwareTpm()
    await withAttestationKey(swtpm.tpm, async key => {
      await swtpm.kill()
      await quotePcrs(swtpm.tpm, key, digest, [14], signal)
    }).then(
      () => expect.unreachable(),
      error => expect(error).toMatchObject({ code: 'TPM_UNREACHABLE' }),
    )
  })

  test('keys leave it on every path', async () => {
    await using swtpm = await softwareTpm()
    for (let time = 0; time < 5; time++)
      await withAttestationKey(swtpm.tpm, () => Promise.reject(new Error('own'))).catch(error =>
        expect(error.message).toBe('own'),
      )
    expect((await swtpm.tool('tpm2_getcap', 'handles-transient')).trim()).toBe('')
  })

  test('locks out after too many wrong passwords, and the error says so', async () => {
    await using swtpm = await softwareTpm()
    const index = '0x1800001'
    await swtpm.tool('tpm2_nvdefine', index, '-C', 'o', '-s', '8', '-p', 'right', '-a', 'authread|ownerwrite')
    await swtpm.tool('tpm2_nvwrite', index, '-C', 'o', '-i', '/dev/zero').catch(() => {})
    await swtpm.tool('tpm2_dictionarylockout', '-s', '-n', '2', '-t', '1000', '-l', '1000')
    const read = {
      name: 'NV_Read',
      code: 0x14e,
      handles: [0x1800001, 0x1800001],
      authorisations: [emptyPassword],
    }
    const codes: string[] = []
    for (let time = 0; time < 3; time++)
      codes.push(await codeOf(() => run(swtpm.tpm, { ...read, parameters: joined(u16(8), u16(0)) }, signal)))
    expect(codes).toEqual(['TPM_AUTH_WRONG', 'TPM_AUTH_WRONG', 'TPM_LOCKED_OUT'])
  })
})

describe('whatever stands in the place of a TPM', () => {
  let directory: string
  let server: net.Server
  let tpm: Tpm
  let answers: (socket: net.Socket, command: Buffer) => void
  const opened = new Set<net.Socket>()

  beforeEach(async () => {
    directory = mkdtempSync(path.join(tmpdir(), 'no-tpm-'))
    server = net.createServer(socket => {
      opened.add(socket)
      socket.on('error', () => {})
      socket.on('data', command => answers(socket, command))
    })
    server.listen(path.join(directory, 'tpm'))
    await once(server, 'listening')
    tpm = openTpm(path.join(directory, 'tpm'))
  })
  afterEach(async () => {
    await tpm.close()
    for (const socket of opened) socket.destroy()
    opened.clear()
    server.close()
    rmSync(directory, { recursive: true, force: true })
  })
  const read = (by = signal) => codeOf(() => readPcrs(tpm, [14], by))

  test('every truncated answer, then the end', async () => {
    const whole = Buffer.from(honest, 'hex')
    answers = socket => socket.write(whole)
    expect(await read()).toBe('ok')
    for (let length = 0; length < whole.byteLength; length++) {
      answers = socket => socket.end(whole.subarray(0, length))
      expect(await read(), `${length} bytes`).toBe('TPM_UNREACHABLE')
    }
  })

  test('every truncated answer that states its own length', async () => {
    const whole = Buffer.from(honest, 'hex')
    for (let length = 10; length < whole.byteLength; length++) {
      const short = Buffer.from(whole.subarray(0, length))
      short.writeUInt32BE(length, 2)
      answers = socket => socket.write(short)
      expect(await read(), `${length} bytes`).toBe('TPM_MALFORMED')
    }
  })

  test.each([
    ['a huge length', `8001ffffffff00000000`],
    ['a length below the header', `80010000000900000000`],
    ['more than it states', `${honest}00`],
    ['another tag', honest.replace(/^8001/, '8002')],
    ['no TPM at all', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n').toString('hex')],
  ])('%s', async (_, hex) => {
    answers = socket => socket.write(Buffer.from(hex, 'hex'))
    expect(await read()).toBe('TPM_MALFORMED')
  })

  test('no answer: the deadline; the next command is not given the late answer', async () => {
    tpm = openTpm(path.join(directory, 'tpm'), 500)
    const late: net.Socket[] = []
    answers = socket => late.push(socket)
    expect(await read()).toBe('TPM_TIMEOUT')
    answers = socket => {
      for (const old of late) old.write(Buffer.from(honest.replace(/22$/, '33'), 'hex'))
      socket.write(Buffer.from(honest, 'hex'))
    }
    const values = await readPcrs(tpm, [14], signal)
    expect(values.get(14)?.at(-1)).toBe(0x22)
  })

  test('after an answer that is none the next command has a connection of its own', async () => {
    answers = socket => socket.write(Buffer.from(`${honest}00`, 'hex'))
    expect(await read()).toBe('TPM_MALFORMED')
    const [old] = opened
    answers = socket => {
      const whose = socket === old ? honest.replace(/22$/, '33') : honest
      socket.write(Buffer.from(whose, 'hex'))
    }
    const values = await readPcrs(tpm, [14], signal)
    expect(values.get(14)?.at(-1)).toBe(0x22)
  })

  test('given up: the reason of the signal, at once for those that wait as well', async () => {
    answers = () => {}
    const giveUp = new AbortController()
    const reason = new CodedError('GIVEN_UP', tpmErrors.TPM_BUSY, 'given up')
    const both = [read(giveUp.signal), read(giveUp.signal)]
    setImmediate(() => giveUp.abort(reason))
    expect(await Promise.all(both)).toEqual(['GIVEN_UP', 'GIVEN_UP'])
    answers = socket => socket.write(Buffer.from(honest, 'hex'))
    expect(await read()).toBe('ok')
  })

  test('nothing there, or a plain file', async () => {
    const missing = openTpm(path.join(directory, 'nothing'))
    expect(await codeOf(() => readPcrs(missing, [14], signal))).toBe('TPM_UNREACHABLE')
    const plain = openTpm(import.meta.filename)
    expect(await codeOf(() => readPcrs(plain, [14], signal))).toBe('TPM_UNREACHABLE')
  })
})

describe('a character device', () => {
  test('is used as a TPM, whole answers and parts of them', async () => {
    await using swtpm = await softwareTpm()
    // It serves one connection at a time.
    await swtpm.tpm.close()
    const bridge = spawn('python3', [path.join(import.meta.dirname, 'terminal-bridge.py'), swtpm.socket], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const ended = once(bridge, 'exit')
    const [line] = await once(bridge.stdout, 'data')
    const tpm = openTpm(String(line).trim())
    try {
      await extendPcr(tpm, 14, digest, signal)
      await withAttestationKey(tpm, key => quotePcrs(tpm, key, digest, [14], signal))
      expect((await readPcrs(tpm, [14], signal)).size).toBe(1)
    } finally {
      await tpm.close()
      bridge.stdin.end()
      await ended
    }
  })
})

describe('response codes', () => {
  test.each([
    [0x100, 'TPM_NOT_INITIALISED'],
    [0x101, 'TPM_FAILURE_MODE'],
    [0x128, 'TPM_POLICY_FAILED'],
    [0x14a, 'TPM_NOT_FOUND'],
    [0x14b, 'TPM_FULL'],
    [0x14c, 'TPM_EXISTS'],
    [0x18b, 'TPM_NOT_FOUND'],
    [0x902, 'TPM_FULL'],
    [0x910, 'TPM_NOT_FOUND'],
    [0x921, 'TPM_LOCKED_OUT'],
    [0x922, 'TPM_BUSY'],
    [0x98e, 'TPM_AUTH_WRONG'],
    [0x9a2, 'TPM_AUTH_WRONG'],
    [0x99d, 'TPM_POLICY_FAILED'],
    [0x1df, 'TPM_CREDENTIAL_WRONG'],
    [0x2c4, 'TPM_REFUSED'],
    [0x143, 'TPM_REFUSED'],
  ])('0x%s is told as %s, with its number', (code, expected) => {
    const error = refusal(code, 'Quote')
    expect(error.code).toBe(expected)
    expect(error.message).toContain(code.toString(16))
  })

  test.each([
    [0x99d, 'of session 1'],
    [0x18b, 'of handle 1'],
    [0x2c4, 'of parameter 2'],
  ])('0x%s says of which part', (code, part) => {
    expect(refusal(code, 'Quote').message).toContain(part)
  })
})
