import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { pin } from '../support.ts'
import { libraries, type ModuleKind, temporary } from './module.ts'

/* Mozilla's softoken: a database in a directory, which it is told at C_Initialize. */

const nssModule = `${libraries}/libsoftokn3.so`

export const nssKind: ModuleKind = {
  name: 'NSS',
  opens: 'ecdh',
  isWitness: false,
  seals: 'ecdsa-p256',
  counts: false,
  export: 'given',
  locks: null,
  isPossible: () => true,
  start: async () => {
    const { directory, remove } = temporary()
    const pinFile = path.join(directory, 'pin')
    writeFileSync(pinFile, pin, { mode: 0o600 })
    execFileSync('certutil', ['-N', '-d', `sql:${directory}`, '-f', pinFile], { stdio: 'ignore' })
    return {
      options: {
        modulePath: nssModule,
        moduleParameters: `configdir='sql:${directory}' certPrefix='' keyPrefix='' secmod='secmod.db' flags=`,
        label: 'NSS Certificate DB',
      },
      pin,
      officerPin: null,
      removable: null,
      renumber: null,
      [Symbol.asyncDispose]: async () => remove(),
    }
  },
}
