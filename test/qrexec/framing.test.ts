import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { CodedError } from '../../src/base/errors.ts'
import { dom0, parseVmName } from '../../src/base/names.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import {
  encodeConnectRequest,
  encodeDescriptor,
  parseConnectRequest,
  parseDescriptor,
} from '../../src/qrexec/framing.ts'

const mgmt = parseVmName('mgmt')
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1')
const descriptor = (header: string) => parseDescriptor(new Untrusted(utf8(header)))
const request = (header: string) => parseConnectRequest(new Untrusted(Buffer.from(header, 'latin1')))

const name = (alphabet: string, max: number) =>
  fc.string({ unit: fc.constantFrom(...alphabet), minLength: 1, maxLength: max })
const service = name('abcXYZ019._-', 40)
const argument = fc.oneof(fc.constant(''), name('abcXYZ019._-+', 40))

describe('service descriptor', () => {
  test('is written as qrexec writes it, in a VM and in dom0', () => {
    expect(text(encodeDescriptor({ service: 'a.B', argument: 'x', source: dom0 }))).toBe('a.B+x dom0\0')
    const requested = { type: 'name', target: 'dom0' } as const
    // Recorded from qrexec 4.4.2.
    expect(text(encodeDescriptor({ service: 'admin.vm.List', argument: '', source: mgmt, requested }))).toBe(
      'admin.vm.List+ mgmt name dom0\0',
    )
  })

  test('is read back', () => {
    expect(descriptor('admin.backup.Execute+nightly+x mgmt keyword adminvm')).toEqual({
      service: 'admin.backup.Execute',
      argument: 'nightly+x',
      source: 'mgmt',
      requested: { type: 'keyword', target: 'adminvm' },
    })
    expect(descriptor('a.B dom0')).toEqual({ service: 'a.B', argument: '', source: 'dom0' })
  })

  test('survives a round trip for all names', () => {
    fc.assert(
      fc.property(service, argument, fc.boolean(), (service, argument, inDom0) => {
        const value = {
          service,
          argument,
          source: mgmt,
          ...(inDom0 ? { requested: { type: 'name', target: 'dom0' } as const } : {}),
        }
        const bytes = encodeDescriptor(value)
        expect(parseDescriptor(new Untrusted(bytes.subarray(0, -1)))).toEqual(value)
      }),
    )
  })

  test.each([
    ['', 'no source'],
    ['a.B', 'no source'],
    ['a.B+x mgmt name', 'three fields'],
    ['a.B+x mgmt name dom0 more', 'five fields'],
    ['a.B+x  mgmt', 'an empty field'],
    ['+x mgmt', 'an empty service'],
    ['a/B+x mgmt', 'a slash'],
    ['a.B+x$ mgmt', 'a dollar in the argument'],
    ['a.B+x 0mgmt', 'a source that is no VM name'],
    ['a.B+x mgmt dispvm dom0', 'an unknown target type'],
    ['a.B+x mgmt name dom0;x', 'a target that is no name'],
    [`a.B+${'x'.repeat(300)} mgmt`, 'a long argument'],
    [`a.B+x ${'m'.repeat(1000)}`, 'a long header'],
    ['a.B+é mgmt', 'a byte outside ASCII'],
    ['a.B+x\n mgmt', 'a control character'],
  ])('refuses %j: %s', header => {
    expect(() => descriptor(header)).toThrow(CodedError)
  })

  test('gives a value or a typed error for any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 700 }), bytes => {
        try {
          parseDescriptor(new Untrusted(bytes))
        } catch (error) {
          expect(error).toBeInstanceOf(CodedError)
        }
      }),
    )
  })
})

describe("a client's request", () => {
  test('is read back', () => {
    const bytes = encodeConnectRequest({ target: 'dom0', service: 'a.B', argument: 'x' })
    expect(text(bytes)).toBe('dom0 a.B+x\0')
    expect(parseConnectRequest(new Untrusted(bytes.subarray(0, -1)))).toEqual({
      target: 'dom0',
      service: 'a.B',
      argument: 'x',
    })
  })

  test('has bytes outside the alphabet replaced before any policy sees them, as qrexec-daemon does', () => {
    // Recorded from qrexec 4.4.2: `svc+a b$c` is judged as `svc+a_b_c`.
    expect(request('work svc+a b$c')).toEqual({ target: 'work', service: 'svc', argument: 'a_b_c' })
    expect(request('$work svc/../x+é').service).toBe('svc_.._x')
    expect(request('@dispvm:dvm svc').target).toBe('@dispvm:dvm')
    expect(request(' svc').target).toBe('')
  })

  test.each(['work', 'work ', 'work +x', `${'w'.repeat(64)} svc`, `work ${'s'.repeat(2000)}`])(
    'refuses %j',
    header => {
      expect(() => request(header)).toThrow(CodedError)
    },
  )
})
