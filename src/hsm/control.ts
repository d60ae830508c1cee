import { fields, is } from '../base/json.ts'
import { parseJobId, parseProfileName, parseVmName } from '../base/names.ts'
import { purposes } from '../ledger/entry.ts'
import type { Call } from '../qrexec/call.ts'
import { json, nothing } from '../qrexec/calls/codecs.ts'
import { type Handler, respond } from '../qrexec/server.ts'
import type { Approvals } from './approvals.ts'
import { type DestroyedEpoch, type DestroyPorts, destroyEpoch } from './destroy-epoch.ts'

/*
 * What a person's commands ask of the service that runs in the same VM, over a socket in its directory that nobody else may open.
 * The form is that of a qrexec call; no VM can make one.
 */

const answerBytesMax = 256 * 1024
const releasesShown = 5

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

export const decideRelease = {
  service: 'strongroom.Decide',
  argument: 'none',
  from: ['hsm'],
  to: 'hsm',
  summary: 'what a person says to a release that waits',
  request: json(parseDecision, 1024),
  response: nothing,
} as const satisfies Call<ReturnType<typeof parseDecision>, undefined>

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

export function serveControl(approvals: Approvals, ports: DestroyPorts): Readonly<Record<string, Handler>> {
  const { store, clock } = ports
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
    [decideRelease.service]: respond(decideRelease, async ({ code, verdict }) => {
      const { job, profile, purpose, epoch, call } = approvals.decide(code, verdict)
      // Not only when dom0 asks again: one that waits until the request has expired would find nothing of her no.
      if (verdict === 'denied')
        await store.recordDenied({ job, profile, purpose, epoch, call, time: clock.now() })
      return undefined
    }),
  }
}
