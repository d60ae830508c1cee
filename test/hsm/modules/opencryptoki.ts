import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { label } from '../support.ts'
import { canRun, Daemon, libraries, type ModuleKind, temporary } from './module.ts'

/*
 * IBM's openCryptoki with its software token. Its paths and shared memory are fixed, so all of it has namespaces of its own, made by
 * root; this machine's openCryptoki, if any, is not touched. Processes of the token are started inside, by the name that Node has
 * for itself.
 */

const modulePath = `${libraries}/opencryptoki/libopencryptoki.so.0`
const namespaces = ['--mount', '--ipc']

/** With `slot`, for it may be another after a restart. */
const script = `set -e
mount -t tmpfs none /dev/shm
mount --bind "$1/state" /var/lib/opencryptoki
mount --bind "$1/etc" /etc/opencryptoki
mount -t tmpfs none /run
mkdir -p /run/lock/opencryptoki/swtok
mkdir -p /var/lib/opencryptoki/swtok/TOK_OBJ
chgrp -R pkcs11 /run/lock/opencryptoki /var/lib/opencryptoki
chmod -R 770 /run/lock/opencryptoki /var/lib/opencryptoki
exec pkcsslotd -f`

export const openCryptokiKind: ModuleKind = {
  name: 'openCryptoki',
  opens: 'oaep',
  isWitness: false,
  seals: null,
  counts: true,
  export: 'refused',
  locks: 'HSM_PIN_LAST_TRY',
  isPossible: () => canRun('unshare', ...namespaces, 'true'),
  start: async () => {
    const { directory, remove } = temporary()
    const nodeHere = process.execPath
    const node = path.join(directory, 'node')
    for (const one of ['state', 'etc']) mkdirSync(path.join(directory, one))
    const run = async (slot: number) => {
      writeFileSync(
        path.join(directory, 'etc/opencryptoki.conf'),
        `version opencryptoki-3.8\nslot ${slot}\n{\nstdll = libpkcs11_sw.so\n}\n`,
      )
      const started = new Daemon('unshare', [...namespaces, 'sh', '-c', script, 'sh', directory])
      await started.ready(() => existsSync(`/proc/${started.pid}/root/run/pkcsslotd.pid`))
      const entered = namespaces.map(
        one => `${one}=/proc/${started.pid}/ns/${one === '--ipc' ? 'ipc' : 'mnt'}`,
      )
      writeFileSync(node, `#!/bin/sh\nexec /usr/bin/nsenter ${entered.join(' ')} ${nodeHere} "$@"\n`)
      chmodSync(node, 0o700)
      return started
    }
    let daemon = await run(0)
    process.execPath = node
    return {
      options: { modulePath, label },
      pin: '123456',
      // As it comes: whoever initialises a token has to name it.
      officerPin: '87654321',
      removable: null,
      renumber: async () => {
        await daemon[Symbol.asyncDispose]()
        daemon = await run(3)
      },
      [Symbol.asyncDispose]: async () => {
        process.execPath = nodeHere
        await daemon[Symbol.asyncDispose]()
        remove()
      },
    }
  },
}
