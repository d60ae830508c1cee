import { existsSync } from 'node:fs'
import path from 'node:path'
import { softHsmModule } from '../hsm/modules.ts'
import { type PinSource, pinFromCredential, pinFromFile, pinFromTerminal } from '../hsm/pin.ts'
import type { PinRefusals } from '../hsm/pin-refusals.ts'
import { TokenProcess } from '../hsm/token-process.ts'

/* The token of this machine, for the HSM VM and for whoever seals with one. */

export interface TokenOptions {
  readonly label: string
  /** The PKCS#11 module; SoftHSM where absent. */
  readonly module: string | undefined
  /** What the module wants at C_Initialize; NSS does. */
  readonly moduleParameters?: string | undefined
  /** All that the process of the module gets of an environment. */
  readonly environment: Readonly<Record<string, string>>
  readonly pin: PinSource
  /** Where PINs that the token refused are remembered; in memory where absent. */
  readonly refusals?: PinRefusals
}

/** Starts no process and asks for no PIN before the token is first used. */
export function openToken({ module, ...options }: TokenOptions): TokenProcess {
  return new TokenProcess({
    ...options,
    modulePath: module ?? softHsmModule(),
    moduleParameters: options.moduleParameters ?? null,
  })
}

/** What modules take from the environment of whoever started this: where their tokens are, never a secret. */
const moduleVariables = ['SOFTHSM2_CONF', 'TPM2_PKCS11_STORE', 'TPM2_PKCS11_TCTI', 'DBUS_SESSION_BUS_ADDRESS']

export function moduleEnvironment(): Readonly<Record<string, string>> {
  return Object.fromEntries(
    moduleVariables.flatMap(name => {
      const value = process.env[name]
      return value === undefined ? [] : [[name, value]]
    }),
  )
}

/** From a file of mode 0600, else from the service manager, else asked on the terminal. */
export function tokenPin(file: string | undefined, prompt: string, credential: string): PinSource {
  if (file !== undefined) return pinFromFile(file)
  const { CREDENTIALS_DIRECTORY: directory } = process.env
  if (directory !== undefined && existsSync(path.join(directory, credential)))
    return pinFromCredential(path.join(directory, credential))
  return typedPin(prompt)
}

export function typedPin(prompt: string): PinSource {
  return pinFromTerminal(prompt, { input: process.stdin, output: process.stderr })
}
