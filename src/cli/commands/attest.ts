import type { AttestationView } from '../../api/schemas.ts'
import { parseAttestationView } from '../answers.ts'
import { CliError, ReportedError } from '../errors.ts'
import { timeText } from '../render.ts'
import type { Session } from '../session.ts'
import { type AddCommand, act, describe } from './command.ts'

type Attestation = NonNullable<AttestationView['attestation']>

export const addAttest: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'attest',
    summary: 'ask dom0, now, to prove which sealed store it uses',
    examples: ['strongroom attest', 'strongroom attest --json | jq .attestation.findings'],
  }).action(act(io, attest))
  parent.addCommand(command)
}

/** Throws where nothing was proven, so that the exit status says it too. */
async function attest(session: Session): Promise<void> {
  const view = await session.api.request('POST', '/v1/attestation', parseAttestationView)
  const { attestation } = view
  session.result(
    'attestation',
    view,
    attestation === null
      ? 'dom0 has no TPM, and never had one: nothing can be proven\n'
      : textOf(attestation, session),
  )
  if (attestation === null || attestation.state === 'accepted') return
  const { error, findings } = attestation
  if (error !== null) throw new ReportedError(error)
  const codes = findings.filter(({ severity }) => severity === 'refused').map(({ code }) => code)
  throw new CliError('CLI_MACHINE_REFUSED', `the machine is refused: ${codes.join(', ')}`)
}

function textOf(attestation: Attestation, { style }: Session): string {
  const { state, time, configuration, machine, findings } = attestation
  const paint = state === 'accepted' ? style.good : style.bad
  const lines = [`${style.strong(paint(state))}  ${timeText(time)}`]
  if (configuration !== null)
    lines.push(
      `in force  version ${configuration.version}, ${configuration.digest.slice(0, 12)}, by the ledger`,
    )
  if (machine !== null) lines.push(`machine   ${machine.endorsement.slice(0, 12)}, TPM: ${machine.tpm}`)
  for (const { severity, code, words, hint } of findings)
    lines.push(
      '',
      `${severity === 'refused' ? style.bad(severity) : severity}  ${words} [${code}]`,
      `hint: ${hint}`,
    )
  return lines.map(line => `${line}\n`).join('')
}
