import { softHsmModule } from '../hsm/modules.ts'
import { type PinSource, pinFromFile, pinFromTerminal } from '../hsm/pin.ts'
import { TokenProcess } from '../hsm/token-process.ts'

/* The token of this machine, for the HSM VM and for whoever seals with one. */

interface TokenOptions {
  readonly label: string
  /** The PKCS#11 module; SoftHSM where absent. */
  readonly module: string | undefined
  /** SoftHSM only. */
  readonly softhsmConfiguration: string | undefined
  readonly pin: PinSource
}

/** Starts no process and asks for no PIN before the token is first used. */
export function openToken({ label, module, softhsmConfiguration, pin }: TokenOptions): TokenProcess {
  return new TokenProcess({
    modulePath: module ?? softHsmModule(),
    label,
    pin,
    environment: softhsmConfiguration === undefined ? {} : { SOFTHSM2_CONF: softhsmConfiguration },
  })
}

/** From a file of mode 0600, or asked on the terminal where there is none. */
export function tokenPin(file: string | undefined): PinSource {
  return file === undefined
    ? pinFromTerminal('PIN of the token: ', { input: process.stdin, output: process.stderr })
    : pinFromFile(file)
}
