import { CodedError } from '../../base/errors.ts'
import { u16 } from '../public/marshal.ts'
import { run } from './command.ts'
import type { Tpm } from './tpm.ts'

const startupCode = 0x144
const clear = 0

/** What firmware does when the machine is switched on; a TPM that was started stays as it is. For software TPMs. */
export async function startTpm(tpm: Tpm, signal: AbortSignal): Promise<void> {
  try {
    await run(tpm, { name: 'Startup', code: startupCode, parameters: u16(clear) }, signal)
  } catch (error) {
    // The same code says that it is started already.
    if (!(error instanceof CodedError) || error.code !== 'TPM_NOT_INITIALISED') throw error
  }
}
