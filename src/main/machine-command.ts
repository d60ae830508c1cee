import { CodedError } from '../base/errors.ts'
import { SealError } from '../sealing/errors.ts'
import {
  type EnrolledMachine,
  forgetMachine,
  keyDigest,
  machineFile,
  readMachine,
} from '../sealing/machine.ts'
import { askYes } from './ask.ts'
import type { Answer } from './command-line.ts'

/* `strongroom hsm machine` and `strongroom management machine`: which machine dom0 is known to be, by its TPM. */

export interface MachineWanted {
  readonly forget: boolean
  /** Do not ask. */
  readonly yes: boolean
}

/** What tells maintenance from attack is not in any file: a person knows it, or nobody does. */
const warning = [
  'It is maintenance if you, or someone you asked, did one of these, and at that time:',
  '  the main board or the TPM was replaced, the TPM cleared, or the state of a software TPM lost',
  '  firmware or boot loader were updated, and platformPcrs are agreed on',
  '  dom0’s disk was put back from a backup, the newest store delivered, and `strongroom dom0 anchor` run there',
  'If nobody did, it is an attack, or a machine in other hands: do not forget it. See docs/how-to/attest-a-machine.md.',
  'Whatever machine answers next, in the sealed state, is the one that is known from then on: be there.',
]

/** Safe while the service runs: it looks at the file at each attestation. Throws `SEAL_DECLINED`. */
export async function machineCommand(
  home: string,
  { forget, yes }: MachineWanted,
  ask: (question: string) => Promise<boolean> = askYes,
  show: (text: string) => void = text => void process.stderr.write(text),
): Promise<Answer> {
  const file = machineFile(home)
  const machine = await readKnown(file, forget)
  const text = machine === null ? ['no machine is known: the next one that answers is'] : describe(machine)
  const result = { machine: machine === 'unreadable' || machine === null ? null : resultOf(machine) }
  if (!forget) return { result, text }
  if (machine === null) return { result: { ...result, forgotten: false }, text }
  if (!yes) {
    show([...text, '', ...warning, ''].join('\n'))
    if (!(await ask('Forget this machine?')))
      throw new SealError('SEAL_DECLINED', 'the machine is still known', {
        hint: 'answer yes on a terminal, or give --yes',
      })
  }
  await forgetMachine(file)
  return {
    result: { ...result, forgotten: true },
    text: [...text, '', 'forgotten  the next machine that proves its state is the one that is known'],
  }
}

/** One that cannot be understood can be forgotten, by the same person for the same reasons. */
async function readKnown(file: string, forget: boolean): Promise<EnrolledMachine | 'unreadable' | null> {
  try {
    return await readMachine(file)
  } catch (error) {
    if (forget && error instanceof CodedError && error.code === 'SEAL_MACHINE_INVALID') return 'unreadable'
    throw error
  }
}

function resultOf({
  endorsement,
  attestationKey,
  certificate,
  tpm,
  storePcr,
  platform,
  counter,
}: EnrolledMachine) {
  return {
    endorsement,
    attestationKey: keyDigest(attestationKey),
    certificate,
    tpm,
    storePcr,
    platform: platform.map(({ pcr, value }) => ({ pcr, value })),
    counter,
  }
}

function describe(machine: EnrolledMachine | 'unreadable'): readonly string[] {
  if (machine === 'unreadable')
    return ['machine    cannot be understood: it was changed, or a disk is failing']
  const { endorsement, attestationKey, tpm, storePcr, platform, counter } = machine
  const pcrs = platform.map(({ pcr }) => pcr).join(', ')
  return [
    `tpm        ${endorsement}, ${kinds[tpm]}`,
    `key        ${keyDigest(attestationKey)}`,
    `store      measured into PCR ${storePcr}`,
    `platform   ${pcrs === '' ? 'not agreed on: firmware and boot loader may change unnoticed' : `PCR ${pcrs} as when it was enrolled`}`,
    `counter    ${counter === null ? 'none: an old disk is not noticed by it' : `index 0x${counter.index.toString(16)}, at ${counter.base} + version of the store`}`,
  ]
}

const kinds = {
  hardware: 'hardware, by the certificate of its maker',
  software: 'software: protects nothing',
  unproven: 'not proven to be hardware',
}
