import './failure.ts'
import path from 'node:path'
import { parseArgs } from 'node:util'
import type { Milliseconds } from '../base/brand.ts'
import { systemEntropy, systemEnvironment } from '../base/environment.ts'
import { fields, is } from '../base/json.ts'
import { createLog } from '../base/log.ts'
import type { RepositoryName } from '../base/names.ts'
import { listenSocket } from '../host/local/socket.ts'
import { createServer } from '../qrexec/server.ts'
import { LocalStore } from '../storage/local.ts'
import type { PrunableObjectStore } from '../storage/object-store.ts'
import { withQuota } from '../storage/quota.ts'
import { serveStorage } from '../storage/sink.ts'
import { readSettings } from './settings.ts'
import { onStop } from './stop.ts'

/* The storage VM: keeps ciphertext for dom0. Holds no key and reads no format. */

const parseSettings = fields('storage settings', {
  /** The Unix socket on which qrexec delivers calls. */
  services: is.string(200),
  /** One directory a repository is made below it. */
  repositories: is.string(4000),
  /** Of each repository. */
  quotaBytes: is.integer(1),
  /** An object may be removed when it has been here for so long; `null`: never. */
  removableAfterHours: is.optional(is.nullable(is.integer(0, 10 * 365 * 24))),
})
/** A week in which a dom0 that went wrong can be stopped before it has undone what is new. */
const removableAfterHoursDefault = 7 * 24
const hourMilliseconds: Milliseconds = 3_600_000

const { values } = parseArgs({ options: { settings: { type: 'string' } } })
const settings = await readSettings(values.settings ?? '/etc/strongroom/storage.json', parseSettings)
const log = createLog('storage-vm')

const { removableAfterHours = removableAfterHoursDefault } = settings
const open = new Map<RepositoryName, PrunableObjectStore>()
const repositories = (name: RepositoryName): PrunableObjectStore => {
  const known = open.get(name)
  if (known !== undefined) return known
  const local = new LocalStore(path.join(settings.repositories, name), systemEnvironment, {
    appendOnly: removableAfterHours === null,
    removalAgeMin: (removableAfterHours ?? 0) * hourMilliseconds,
  })
  // What uploads that died with an earlier process have left.
  const never = new AbortController().signal
  local.sweep(never).catch(error => log.warn('sweeping failed', { repository: name, error }))
  const store = withQuota(local, settings.quotaBytes)
  open.set(name, store)
  return store
}
const calls = createServer(serveStorage({ repositories, log, entropy: systemEntropy }), { log })
const server = await listenSocket(settings.services, socket => calls.accept(socket))
log.info('ready')
onStop(log, async () => {
  await server.close()
})
