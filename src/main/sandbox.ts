import './failure.ts'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Duplex } from 'node:stream'
import { systemEnvironment } from '../base/environment.ts'
import { createLog } from '../base/log.ts'
import { sandboxMarker } from '../host/local/marker.ts'
import { localTransport } from '../host/local/transport.ts'
import { storageRead } from '../qrexec/calls/storage.ts'
import { workInside } from '../restore/inside/work.ts'
import { connectStorage } from '../storage/remote.ts'

/* A disposable: opens one repository by what the ledger says, answers one verdict, and is destroyed. */

const log = createLog('sandbox')
// It must never parse a repository anywhere else than behind walls.
if (process.env[sandboxMarker] === undefined) {
  log.error('not inside a sandbox; refusing to start')
  process.exit(3)
}
const transport = localTransport(process.argv.at(-1) ?? '')

try {
  await workInside({
    channel: Duplex.from({ readable: process.stdin, writable: process.stdout }),
    storage: async ({ storageVm, capability }, signal) =>
      connectStorage(await transport.open(storageRead.service, capability, storageVm, signal)),
    ...systemEnvironment,
    tablePath: path.join(tmpdir(), 'blobs'),
    log,
  })
  process.exit(0)
} catch (error) {
  log.error('no verdict', { error })
  process.exit(1)
}
