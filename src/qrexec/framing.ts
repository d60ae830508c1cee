import { utf8 } from '../base/bytes.ts'
import { printable } from '../base/errors.ts'
import { parseVmName, type VmName } from '../base/names.ts'
import type { Untrusted } from '../base/untrusted.ts'
import { QrexecError } from './errors.ts'

/*
 * The header ("service descriptor") that a qrexec socket service receives before the caller's data, as
 * qubes-core-qrexec libqrexec/exec.c writes it:
 *   in a VM:  SERVICE+ARGUMENT SP SOURCE NUL
 *   in dom0:  SERVICE+ARGUMENT SP SOURCE SP TYPE SP TARGET NUL, TYPE `name` or `keyword` (TARGET then without `@`)
 * A call without argument is written `SERVICE+`.
 */

const serviceLengthMax = 255
const argumentLengthMax = 200
const targetLengthMax = 63
/** Longest header without its NUL. */
export const descriptorBytesMax = 640

export interface ServiceDescriptor {
  readonly service: string
  readonly argument: string
  readonly source: VmName
  /** What the caller asked for; present in dom0 only. */
  readonly requested?: RequestedTarget
}

export interface RequestedTarget {
  readonly type: 'name' | 'keyword'
  readonly target: string
}

/** With the final NUL. */
export function encodeDescriptor(descriptor: ServiceDescriptor): Uint8Array {
  const { service, argument, source, requested } = descriptor
  const tail = requested ? ` ${requested.type} ${requested.target}` : ''
  return utf8(`${service}+${argument} ${source}${tail}\0`)
}

/** `untrustedHeader`: the header without its NUL. */
export function parseDescriptor(untrustedHeader: Untrusted<Uint8Array>): ServiceDescriptor {
  return untrustedHeader.parse(untrustedBytes => {
    const untrustedFields = asciiText(untrustedBytes, descriptorBytesMax).split(' ')
    const [untrustedName, untrustedSource, untrustedType, untrustedTarget] = untrustedFields
    if (untrustedName === undefined || untrustedSource === undefined)
      throw invalid('a service descriptor without a source')
    if (untrustedFields.length !== 2 && untrustedFields.length !== 4)
      throw invalid(`a service descriptor of ${untrustedFields.length} fields; expected 2 or 4`)
    const name = parseServiceName(untrustedName)
    const source = parseVmName(untrustedSource)
    if (untrustedType === undefined || untrustedTarget === undefined) return { ...name, source }
    return { ...name, source, requested: parseRequestedTarget(untrustedType, untrustedTarget) }
  })
}

/** A client's request of the local broker: `TARGET SP SERVICE+ARGUMENT NUL`. */
export interface ConnectRequest {
  readonly target: string
  readonly service: string
  readonly argument: string
}

export function encodeConnectRequest({ target, service, argument }: ConnectRequest): Uint8Array {
  return utf8(`${target} ${service}+${argument}\0`)
}

/**
 * Reads a client's request and makes its names safe before any policy sees them, as qrexec-daemon.c does: each byte
 * outside the alphabet becomes `_`. An empty service name is refused.
 */
export function parseConnectRequest(untrustedHeader: Untrusted<Uint8Array>): ConnectRequest {
  return untrustedHeader.parse(untrustedBytes => {
    if (untrustedBytes.byteLength > descriptorBytesMax) throw tooLong(descriptorBytesMax)
    const untrustedText = Buffer.from(untrustedBytes).toString('latin1')
    const space = untrustedText.indexOf(' ')
    if (space < 0) throw invalid('a request without a space between target and service')
    const target = untrustedText.slice(0, space).replace(/[^A-Za-z0-9_.@:-]/g, '_')
    if (target.length > targetLengthMax) throw tooLong(targetLengthMax)
    const name = untrustedText.slice(space + 1).replace(/[^A-Za-z0-9_.+-]/g, '_')
    return { target, ...parseServiceName(name) }
  })
}

/** Splits at the first `+`; without one the argument is empty. */
export function parseServiceName(untrustedName: string): { service: string; argument: string } {
  if (!/^[A-Za-z0-9_.-]+(\+[A-Za-z0-9_.+-]*)?$/.test(untrustedName))
    throw invalid(`not a service and argument: '${printable(untrustedName.slice(0, 80))}'`)
  const plus = untrustedName.indexOf('+')
  const service = plus < 0 ? untrustedName : untrustedName.slice(0, plus)
  const argument = plus < 0 ? '' : untrustedName.slice(plus + 1)
  if (service.length > serviceLengthMax) throw tooLong(serviceLengthMax)
  if (argument.length > argumentLengthMax) throw tooLong(argumentLengthMax)
  return { service, argument }
}

function parseRequestedTarget(untrustedType: string, untrustedTarget: string): RequestedTarget {
  if (untrustedType !== 'name' && untrustedType !== 'keyword')
    throw invalid(`target type '${printable(untrustedType.slice(0, 80))}'; expected name or keyword`)
  if (untrustedTarget.length > targetLengthMax) throw tooLong(targetLengthMax)
  if (!/^[A-Za-z0-9_.:@-]+$/.test(untrustedTarget))
    throw invalid(`not a target: '${printable(untrustedTarget.slice(0, 80))}'`)
  return { type: untrustedType, target: untrustedTarget }
}

function asciiText(untrustedBytes: Uint8Array, bytesMax: number): string {
  if (untrustedBytes.byteLength > bytesMax) throw tooLong(bytesMax)
  if (untrustedBytes.some(byte => byte < 0x20 || byte > 0x7e))
    throw invalid('a service descriptor with bytes outside printable ASCII')
  return Buffer.from(untrustedBytes).toString('latin1')
}

function invalid(what: string): QrexecError {
  return new QrexecError('QREXEC_REQUEST_INVALID', what)
}

function tooLong(lengthMax: number): QrexecError {
  return invalid(`longer than ${lengthMax} characters`)
}
