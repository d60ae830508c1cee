import type { Duplex } from 'node:stream'
import type { VmName } from '../base/names.ts'
import type { Untrusted } from '../base/untrusted.ts'
import type { Role } from './roles.ts'

/** Bytes on the wire for one direction of a call. `decode` throws a `CodedError` for anything it does not know. */
export interface Codec<T> {
  readonly bytesMax: number
  encode(value: T): Uint8Array
  decode(bytes: Untrusted<Uint8Array>): T
}

/** What the qrexec argument of a call holds. */
export type ArgumentKind = 'none' | 'profile' | 'job' | 'repository' | 'capability' | 'object'

/**
 * One inter-VM call: both halves, and who may make it. Client, server, installed policy and the reference page are made
 * from this. The request travels as the whole input of the call up to its end; the answer in the Admin API's form
 * (`admin-api.ts`).
 */
export interface Call<Request, Response> {
  /** The qrexec service name, without argument. */
  readonly service: string
  readonly argument: ArgumentKind
  readonly from: readonly Role[]
  readonly to: Role
  readonly summary: string
  readonly request: Codec<Request>
  readonly response: Codec<Response>
}

/** A call whose content is a stream of its own: storage objects, events. */
export interface StreamCall {
  readonly service: string
  readonly argument: ArgumentKind
  readonly from: readonly Role[]
  readonly to: Role
  readonly summary: string
  readonly stream: true
}

/**
 * How one VM reaches another: real qrexec or the local host's broker.
 * A refused call throws `QREXEC_REFUSED`, an unreachable one `QREXEC_UNREACHABLE`, an abort the signal's reason.
 */
export interface Transport {
  /** Opens `service+argument` in `target`. The stream allows half-close; `signal` destroys it. */
  open(service: string, argument: string, target: VmName, signal: AbortSignal): Promise<Duplex>
}
