import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { CodedError, type ErrorKind, errorKinds, reportOf } from '../../src/base/errors.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import {
  encodeEvent,
  encodeException,
  encodeOk,
  encodeStockException,
  parseAnswer,
  parseEvent,
  RemoteError,
  stockExceptionType,
} from '../../src/qrexec/admin-api.ts'

const answer = (bytes: Uint8Array | string) =>
  parseAnswer(new Untrusted(typeof bytes === 'string' ? utf8(bytes) : bytes))

function thrownBy(act: () => unknown): unknown {
  try {
    act()
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}

describe('OK', () => {
  test('is "0 NUL" and the content, of any bytes', () => {
    expect(Buffer.from(encodeOk(utf8('work'))).toString()).toBe('0\0work')
    fc.assert(
      fc.property(fc.uint8Array(), bytes => {
        expect(answer(encodeOk(bytes))).toEqual(bytes)
      }),
    )
  })
})

describe('EXCEPTION', () => {
  test('carries our code, kind, message and hint across', () => {
    const report = { code: 'STORAGE_FULL', kind: 'full', message: '100% of 5 GiB\nused', hint: '' } as const
    const error = thrownBy(() => answer(encodeException({ ...report, hint: 'free %s room' })))
    expect(error).toBeInstanceOf(RemoteError)
    expect(reportOf(error)).toEqual({
      code: 'STORAGE_FULL',
      kind: 'full',
      message: '100% of 5 GiB?used',
      hint: 'free %s room',
    })
  })

  test('has a format whose fields Python can consume, so that stock clients can show it', () => {
    const bytes = encodeException({ code: 'X', kind: 'failed', message: '5% off', hint: 'h' })
    expect(Buffer.from(bytes).toString()).toBe('2\0X\0\x005%% off%.0s%.0s\0failed\0h\0')
  })

  test("qubesd's own is read, with its class name as code", () => {
    // Recorded from qubesd 4.4.0.
    const error = thrownBy(() => answer('2\0BackupAlreadyRunningError\0\0Backup already running\0'))
    expect(reportOf(error)).toMatchObject({
      code: 'BackupAlreadyRunningError',
      kind: 'conflict',
      message: 'Backup already running',
    })
    const formatted = thrownBy(() => answer('2\0QubesVMNotFoundError\0\0No such domain: %r, %d%%\0x\x007\0'))
    expect(formatted).toMatchObject({ message: 'No such domain: x, 7%', kind: 'missing' })
    expect(thrownBy(() => answer('2\0SomethingNewError\0tb\0m\0'))).toMatchObject({ kind: 'failed' })
  })

  test('in stock form is byte for byte what qubesd sends', () => {
    expect(
      Buffer.from(encodeStockException('BackupAlreadyRunningError', 'Backup already running')).toString(),
    ).toBe('2\0BackupAlreadyRunningError\0\0Backup already running\0')
  })

  test('an unknown kind is a failure', () => {
    expect(thrownBy(() => answer('2\0X_Y\0\0m%.0s%.0s\0success\0h\0'))).toMatchObject({ kind: 'failed' })
    expect(thrownBy(() => answer('2\0X_Y\0\0m%.0s%.0s\0toString\0h\0'))).toMatchObject({ kind: 'failed' })
  })

  test('every kind has a class of qubesd', () => {
    for (const kind of Object.keys(errorKinds) as ErrorKind[])
      expect(stockExceptionType(kind)).toMatch(/^[A-Z][A-Za-z]+$/)
    expect(stockExceptionType('conflict')).toBe('BackupAlreadyRunningError')
  })
})

describe('what is no answer', () => {
  test.each([
    '',
    '0',
    '3\0',
    '2\0',
    '2\0A\0\0',
    '2\0A\0\0m',
    '2\0\0\0m\0',
    '2\0A b\0\0m\0',
    '1\0\0e\0\0',
    'OK',
  ])('refuses %j', bytes => {
    expect(thrownBy(() => answer(bytes))).toMatchObject({ code: 'QREXEC_ANSWER_INVALID' })
  })

  test('any bytes give a value or a typed error', () => {
    fc.assert(
      fc.property(fc.constantFrom(0x30, 0x31, 0x32), fc.uint8Array(), (kind, rest) => {
        try {
          answer(Uint8Array.of(kind, 0, ...rest))
        } catch (error) {
          expect(error).toBeInstanceOf(CodedError)
        }
      }),
    )
  })
})

describe('EVENT', () => {
  test("qubesd's are read", () => {
    const message = '1\0\0backup-progress\0backup_profile\0big\0progress\x0033.6661\0\0'
    const event = parseEvent(new Untrusted(utf8(message)))
    expect(event).toMatchObject({ subject: '', event: 'backup-progress' })
    expect({ ...event.values }).toEqual({ backup_profile: 'big', progress: '33.6661' })
    expect(parseEvent(new Untrusted(utf8('1\0\0connection-established\0\0'))).event).toBe(
      'connection-established',
    )
  })

  test('survives a round trip', () => {
    const word = fc.string({ unit: fc.constantFrom(...'abc019-_:.'), minLength: 1, maxLength: 10 })
    fc.assert(
      fc.property(
        word,
        word,
        fc.dictionary(word, word, { noNullPrototype: false }),
        (subject, event, values) => {
          const read = parseEvent(new Untrusted(encodeEvent({ subject, event, values })))
          expect({ ...read, values: { ...read.values } }).toEqual({ subject, event, values: { ...values } })
        },
      ),
    )
  })

  test.each([
    '',
    '1\0s\0e\0',
    '1\0s\0e\0k\0v\0',
    '1\0s\0e\0k\0\0',
    '1\0s\0\0\0',
    '1\0s\0e\0k\0a\0k\0b\0\0',
    '0\0s\0e\0\0',
  ])('refuses %j', bytes => {
    expect(() => parseEvent(new Untrusted(utf8(bytes)))).toThrow(CodedError)
  })
})
