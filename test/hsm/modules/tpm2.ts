import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { label, officerPin, pin } from '../support.ts'
import { Daemon, libraries, type ModuleKind, temporary } from './module.ts'

/* tpm2-pkcs11 on a software TPM, shared out by tpm2-abrmd as the kernel's /dev/tpmrm0 does, over a bus of its own. */

const modulePath = `${libraries}/pkcs11/libtpm2_pkcs11.so`

export const tpm2Kind: ModuleKind = {
  name: 'tpm2-pkcs11',
  opens: 'rsa',
  isWitness: false,
  seals: 'ecdsa-p256',
  counts: true,
  export: 'untried',
  locks: 'HSM_PIN_LOCKED',
  isPossible: () => true,
  start: async () => {
    const { directory, remove } = temporary()
    const at = (name: string) => path.join(directory, name)
    for (const one of ['state', 'store']) mkdirSync(at(one))
    const bus = { DBUS_SESSION_BUS_ADDRESS: `unix:path=${at('bus')}` }
    const daemon = new Daemon('dbus-daemon', [
      '--session',
      '--nofork',
      '--nopidfile',
      `--address=${bus.DBUS_SESSION_BUS_ADDRESS}`,
    ])
    await daemon.ready(() => existsSync(at('bus')))
    const start = async () => {
      const tpm = new Daemon('swtpm', [
        'socket',
        '--tpm2',
        '--tpmstate',
        `dir=${at('state')}`,
        '--server',
        `type=unixio,path=${at('tpm')}`,
        '--ctrl',
        `type=unixio,path=${at('tpm')}.ctrl`,
        '--flags',
        'not-need-init,startup-clear',
      ])
      await tpm.ready(() => existsSync(at('tpm')))
      const broker = new Daemon(
        '/usr/sbin/tpm2-abrmd',
        ['--session', '--allow-root', `--tcti=swtpm:path=${at('tpm')}`],
        bus,
      )
      await broker.ready(() => hasName(bus, 'com.intel.tss2.Tabrmd'))
      return [broker, tpm]
    }
    let running = await start()
    const stop = async () => {
      for (const one of running) await one[Symbol.asyncDispose]()
      for (const one of ['tpm', 'tpm.ctrl']) rmSync(at(one), { force: true })
    }
    return {
      options: {
        modulePath,
        label,
        environment: {
          TPM2_PKCS11_LOG_LEVEL: '0',
          TSS2_LOG: 'all+none',
          TPM2_PKCS11_STORE: at('store'),
          TPM2_PKCS11_TCTI: 'tabrmd:bus_type=session',
          ...bus,
        },
      },
      pin,
      officerPin,
      removable: {
        takeAway: stop,
        putBack: async () => {
          running = await start()
        },
      },
      renumber: null,
      [Symbol.asyncDispose]: async () => {
        await stop()
        await daemon[Symbol.asyncDispose]()
        remove()
      },
    }
  },
}

function hasName(bus: Readonly<Record<string, string>>, name: string): boolean {
  const words = ['--session', '--print-reply', '--dest=org.freedesktop.DBus', '/org/freedesktop/DBus']
  const asked = ['org.freedesktop.DBus.NameHasOwner', `string:${name}`]
  return execFileSync('dbus-send', [...words, ...asked], { env: { ...process.env, ...bus } }).includes('true')
}
