import { BaseError } from '../base/base-errors.ts'
import { utf8 } from '../base/bytes.ts'
import { fields, is, parseJson } from '../base/json.ts'
import { parseJobId, parseProfileName, parseVmName } from '../base/names.ts'
import { purposes } from '../ledger/entry.ts'
import type { Call, Codec } from '../qrexec/call.ts'
import { json, nothing } from '../qrexec/calls/codecs.ts'
import { type Handler, respond } from '../qrexec/server.ts'
import type { Approvals } from './approvals.ts'
import { type DestroyedEpoch, type DestroyPorts, destroyEpoch } from './destroy-epoch.ts'
import { pinBytesMax, takePin } from './pin.ts'
import type { ProvePin } from './pin-proof.ts'
import { type Said, Verdicts } from './verdicts.ts'

/*
 * What a person's commands ask of the service that runs in the same VM, over a socket in its directory that nobody else may open.
 * The form is that of a qrexec call; no VM can make one.
 */

const answerBytesMax = 256 * 1024
const releasesShown = 5
const headerBytesMax = 1024
const newline = 0x0a

const parsePending = is.array(
  fields('pending release', {
    code: is.string(16),
    job: is.name(parseJobId),
    profile: is.name(parseProfileName),
    purpose: is.literal(...purposes),
    call: is.literal('release', 'stock'),
    epoch: is.integer(1),
    initiator: is.name(parseVmName),
    asked: is.time,
    expires: is.time,
    wantsPin: is.boolean,
    /** Of the profile, the newest last. */
    released: is.array(is.time, releasesShown),
  }),
  64,
)
export type ShownRelease = ReturnType<typeof parsePending>[number]

export const listPending = {
  service: 'strongroom.Pending',
  argument: 'none',
  from: ['hsm'],
  to: 'hsm',
  summary: 'the releases that wait for a person',
  request: nothing,
  response: json(parsePending, answerBytesMax),
} as const satisfies Call<undefined, readonly ShownRelease[]>

const parseDecision = fields('decision', {
  code: is.string(16),
  verdict: is.literal('approved', 'denied'),
})

/**
 * A line of JSON, then the PIN as it is, or nothing. Encoding ends the secret, and decoding zeroes the bytes it came in: on
 * either side one copy is left.
 */
const saidCodec: Codec<Said> = {
  bytesMax: headerBytesMax + pinBytesMax,
  encode: ({ pin, ...decision }) => {
    const header = utf8(`${JSON.stringify(decision)}\n`)
    const bytes = new Uint8Array(header.byteLength + (pin?.byteLength ?? 0))
    bytes.set(header)
    pin?.expose(secret => bytes.set(secret, header.byteLength))
    pin?.dispose()
    return bytes
  },
  decode: said =>
    said.parse(untrustedBytes => {
      try {
        const end = untrustedBytes.indexOf(newline)
        if (end < 0) throw new BaseError('FIELD_INVALID', 'the decision has no header line')
        const header = parseJson(untrustedBytes.subarray(0, end), { bytesMax: headerBytesMax })
        const decision = parseDecision(header)
        const rest = untrustedBytes.subarray(end + 1)
        return { ...decision, pin: rest.byteLength === 0 ? null : takePin(rest, rest.byteLength) }
      } finally {
        untrustedBytes.fill(0)
      }
    }),
}

export const decideRelease = {
  service: 'strongroom.Decide',
  argument: 'none',
  from: ['hsm'],
  to: 'hsm',
  summary: 'what a person says to a release that waits',
  request: saidCodec,
  response: nothing,
} as const satisfies Call<Said, undefined>

const parseEpoch = fields('epoch', { profile: is.name(parseProfileName), epoch: is.integer(1) })
const parseDestroyed = fields('destroyed epoch', { envelopes: is.integer(), entry: is.integer(1) })

export const endEpoch = {
  service: 'strongroom.EndEpoch',
  argument: 'none',
  from: ['hsm'],
  to: 'hsm',
  summary: 'destroy the passphrase of an earlier epoch of which the ledger has no snapshot',
  request: json(parseEpoch, 1024),
  response: json(parseDestroyed, 1024),
} as const satisfies Call<ReturnType<typeof parseEpoch>, DestroyedEpoch>

export interface ControlPorts extends DestroyPorts {
  readonly provePin: ProvePin
}

export function serveControl(approvals: Approvals, ports: ControlPorts): Readonly<Record<string, Handler>> {
  const { store } = ports
  const verdicts = new Verdicts({ ...ports, approvals })
  return {
    [endEpoch.service]: respond(endEpoch, (epoch, { signal }) => destroyEpoch(ports, epoch, signal), {
      abortOnDisconnect: true,
    }),
    [listPending.service]: respond(listPending, async () =>
      approvals.list().map(release => ({
        ...release,
        released: store.decisions.releases(release.profile).slice(-releasesShown),
      })),
    ),
    [decideRelease.service]: respond(decideRelease, async (said, { signal }) => {
      await verdicts.say(said, signal)
      return undefined
    }),
  }
}
