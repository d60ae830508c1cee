import { TpmSystem } from '../tpm-system.ts'
import { must, type Scenario } from './scenario.ts'

/** The HSM VM releases only to a dom0 whose TPM says that it uses the sealed store. */
export const attestedRelease: Scenario = {
  summary: 'a passphrase is released only to the machine that is known, in the state that is sealed',
  async run(say) {
    await using one = await TpmSystem.start(say)
    const { system, tpm } = one
    const expectBackup = async (wanted: string, what: string) => {
      const found = await one.backup()
      must(found.includes(wanted), `${what}: the backup ended as ${found}; expected ${wanted}`)
      say(`${what}: ${found.slice(0, 160)}`)
    }
    await expectBackup(
      'done',
      'first release: the machine proves that its keys are in one TPM, and is known from now on',
    )
    await expectBackup('done', 'released again')
    const expectManagement = async (state: string, wanted: string) => {
      const { attestation } = await one.attestation()
      const codes = attestation?.findings.map(({ code }) => code) ?? []
      const found = [attestation?.state ?? 'nothing', ...codes, attestation?.error?.code ?? '']
        .join(' ')
        .trim()
      must(found.startsWith(state) && found.includes(wanted), `the management VM shows: ${found}`)
      say(`the management VM, which has the ledger only, shows: ${found}`)
    }
    await expectManagement('accepted', 'ATTEST_SOFTWARE_TPM')
    await one.restartMachine()
    await expectBackup('done', 'after the machine was switched off and on')

    await one.stopHost()
    await tpm.tool('tpm2_pcrextend', `14:sha256=${'d'.repeat(64)}`)
    const refusal = await one.refusalToStart()
    must(refusal.includes('SEAL_LOG_INVALID'), `with an unknown measurement dom0 said: ${refusal}`)
    say('something was measured that nobody tells of: dom0 does not start, SEAL_LOG_INVALID')
    await one.restartMachine()
    await expectBackup('done', 'after a restart nothing of it is left')

    await one.stopHost()
    await one.replaceTpm()
    await one.anchor()
    await one.startHost()
    await expectBackup('ATTEST_OTHER_MACHINE', 'another machine with a copy of the disk')
    await expectManagement('refused', 'ATTEST_OTHER_MACHINE')

    await one.setTpm(null)
    await system.restartHost()
    await expectBackup('HSM_REFUSED_ATTESTATION', 'a machine that shows no TPM')
    await expectManagement('refused', 'MACHINE_WITHOUT_TPM')
  },
}
