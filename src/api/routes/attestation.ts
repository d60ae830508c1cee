import { attestationFindings } from '../../sealing/findings.ts'
import { keyDigest } from '../../sealing/machine.ts'
import type { RouteContext } from '../context.ts'
import { ApiError } from '../errors.ts'
import type { MachineState } from '../machine-watch.ts'
import { AttestationSchema, type AttestationView } from '../schemas.ts'
import type { Routes } from '../server.ts'
import { answers } from './answers.ts'

export function attestationRoutes(app: Routes, { machine, closing }: RouteContext): void {
  app.get(
    '/v1/attestation',
    {
      schema: {
        summary: 'What dom0 attested when it was last asked, and what is wrong with it',
        response: answers({ 200: AttestationSchema }),
      },
    },
    async () => attestationView(machine?.latest ?? null),
  )

  app.post(
    '/v1/attestation',
    {
      schema: {
        summary: 'Ask dom0 to attest, now',
        response: answers({ 200: AttestationSchema }),
      },
    },
    async () => {
      if (machine === null) throw new ApiError('API_ATTESTATION_OFF', 'this service follows no ledger')
      return attestationView(await machine.look(closing))
    },
  )
}

function attestationView(state: MachineState | null): AttestationView {
  if (state === null) return { attestation: null }
  const { machine, findings, error } = state
  return {
    attestation: {
      time: state.time.toISOString(),
      state: state.state,
      known: state.isKnown,
      configuration: state.store && { ...state.store },
      machine: machine && {
        endorsement: machine.endorsement,
        attestationKey: keyDigest(machine.attestationKey),
        tpm: machine.tpm,
      },
      findings: findings.map(found => ({ ...found, hint: attestationFindings[found.code].hint })),
      error: error && { ...error },
    },
  }
}
