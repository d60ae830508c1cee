import path from 'node:path'
import { BaseError } from '../base/base-errors.ts'
import { systemEntropy } from '../base/environment.ts'
import { fields, is } from '../base/json.ts'
import { refusalsIn } from '../hsm/pin-refusals.ts'
import { type TokenOptions, tokenPin, typedPin } from './token.ts'

/* The settings of the HSM VM. */

const tokenFields = {
  tokenLabel: is.string(32),
  /** The PKCS#11 module; SoftHSM where absent. */
  module: is.optional(is.string(4000)),
  /** What the module is given at C_Initialize: NSS wants the directory of its tokens there. */
  moduleParameters: is.optional(is.string(4000)),
  /** All that the process of the module has of an environment: where tokens are, never a secret. */
  moduleEnvironment: is.optional(is.record(is.string(4000), parseVariable, 32)),
  /** SoftHSM only: its configuration, made by `init`. */
  softhsmConfiguration: is.optional(is.string(4000)),
  /** Mode 0600; absent: the credential, else asked on the terminal when the token is first used. */
  pinFile: is.optional(is.string(4000)),
}

const parseToken = fields('token settings', tokenFields)
export type TokenSettings = ReturnType<typeof parseToken>

export const parseHsmSettings = fields('HSM settings', {
  /**
   * `envelopes/`, `witness.json`, `releases.jsonl`, `refused-pins.json`, `machine.json`, `attested.json`, `tpm-makers/`,
   * `sealed/`.
   */
  home: is.string(4000),
  /** Its own socket to the broker: dom0 is asked for its ledger before an epoch is destroyed. */
  qrexec: is.optional(is.string(4000)),
  /** The Unix socket on which qrexec delivers calls. */
  services: is.string(4000),
  ...tokenFields,
  /** Another token, which witnesses the ledger; absent: the same one does. */
  witness: is.optional(parseToken),
  /** Whether the token counts the versions of the sealed store, once `anchor` has begun it. */
  counter: is.optional(is.boolean),
})

function parseVariable(untrustedName: string): string {
  if (/^[A-Z][A-Z0-9_]{0,63}$/.test(untrustedName)) return untrustedName
  throw new BaseError('FIELD_INVALID', 'a variable is named in capitals')
}

/** Which of the two tokens, by the names that its PIN and its memory of PINs have. */
const names = {
  token: { credential: 'strongroom-pin', refusals: 'refused-pins.json', prompt: 'PIN of the token: ' },
  witness: {
    credential: 'strongroom-witness-pin',
    refusals: 'refused-witness-pins.json',
    prompt: 'PIN of the token that witnesses: ',
  },
} as const

/** The token of these settings; `typed` has its PIN from a person, whatever they say. */
export function tokenOptions(
  settings: TokenSettings,
  home: string,
  which: keyof typeof names,
): TokenOptions & { readonly typed: TokenOptions } {
  const { credential, refusals, prompt } = names[which]
  const { softhsmConfiguration } = settings
  const address = {
    label: settings.tokenLabel,
    module: settings.module,
    moduleParameters: settings.moduleParameters,
    environment: {
      ...settings.moduleEnvironment,
      ...(softhsmConfiguration === undefined ? {} : { SOFTHSM2_CONF: softhsmConfiguration }),
    },
    refusals: refusalsIn(path.join(home, refusals), systemEntropy),
  }
  return {
    ...address,
    pin: tokenPin(settings.pinFile, prompt, credential),
    typed: { ...address, pin: typedPin(prompt) },
  }
}
