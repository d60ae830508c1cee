import { mkdirSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { label, officerPin, pin, softHsm, TestHsm } from '../support.ts'
import type { ModuleKind } from './module.ts'

export const softHsmKind: ModuleKind = {
  name: 'SoftHSM',
  opens: 'ecdh',
  isWitness: true,
  seals: 'ed25519',
  counts: true,
  export: 'refused',
  locks: null,
  isPossible: () => true,
  start: async () => {
    const hsm = new TestHsm()
    const elsewhere = path.join(hsm.directory, 'pulled')
    return {
      options: { modulePath: softHsm, label, environment: { SOFTHSM2_CONF: hsm.configuration } },
      pin,
      officerPin,
      removable: {
        takeAway: async () => {
          renameSync(hsm.tokens, elsewhere)
          mkdirSync(hsm.tokens)
        },
        putBack: async () => {
          rmSync(hsm.tokens, { recursive: true })
          renameSync(elsewhere, hsm.tokens)
        },
      },
      renumber: null,
      [Symbol.asyncDispose]: async () => hsm.remove(),
    }
  },
}
