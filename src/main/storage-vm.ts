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
import { scrubMemory } from '../storage/scrub-memory.ts'
import { serveScrub } from '../storage/serve-scrub.ts'
import { serveStorage } from '../storage/sink.ts'
import { storageSettings, storageUsage } from '../usage/storage.ts'
import { runCommand } from './command-line.ts'
import { roleCommand } from './role-command.ts'
import { readSettings } from './settings.ts'
import { onStop } from './stop.ts'
import { runScrub } from './storage-scrub.ts'

/* The storage VM: keeps ciphertext for dom0. Holds no key and reads no format. */

/** A piece of an object is then read often enough that nobody takes the silence for an end. */
const bytesPerSecondMin = 64 * 1024

const parseSettings = fields('storage settings', {
  /** The Unix socket on which qrexec delivers calls. */
  services: is.string(200),
  /** One directory a repository is made below it. */
  repositories: is.string(4000),
  /** Of each repository. */
  quotaBytes: is.integer(1),
  /** Of the scrubs that dom0 orders; as fast as it goes when absent. */
  scrubBytesPerSecond: is.optional(is.integer(bytesPerSecondMin)),
  /** An object may be removed when it has been here for so long; never when absent. */
  removableAfterHours: is.optional(is.integer(0, 10 * 365 * 24)),
})
const hourMilliseconds: Milliseconds = 3_600_000

const { values, positionals } = parseArgs({ allowPositionals: true, options: storageUsage.options })
const command = roleCommand(storageUsage, values.help, positionals)
const settings = await readSettings(values.settings ?? storageSettings, parseSettings)

if (command === 'scrub') {
  const { repositories } = settings
  const names = positionals.slice(1)
  const wanted = { repositories, names, limitRead: values['limit-read'], json: values.json ?? false }
  await runCommand(values.json, signal => runScrub(wanted, signal))
  process.exit()
}

const log = createLog('storage-vm')

const { removableAfterHours } = settings
const open = new Map<RepositoryName, PrunableObjectStore>()
const repositories = (name: RepositoryName): PrunableObjectStore => {
  const known = open.get(name)
  if (known !== undefined) return known
  const local = new LocalStore(path.join(settings.repositories, name), systemEnvironment, {
    appendOnly: removableAfterHours === undefined,
    removalAgeMin: (removableAfterHours ?? 0) * hourMilliseconds,
  })
  // What uploads that died with an earlier process have left.
  const never = new AbortController().signal
  local.sweep(never).catch(error => log.warn('sweeping failed', { repository: name, error }))
  const store = withQuota(local, settings.quotaBytes)
  open.set(name, store)
  return store
}
const handlers = {
  ...serveStorage({ repositories, log, entropy: systemEntropy }),
  ...serveScrub({
    repositories,
    memory: name => scrubMemory(settings.repositories, name, log),
    bytesPerSecondMax: settings.scrubBytesPerSecond ?? null,
    clock: systemEnvironment.clock,
    log,
  }),
}
const calls = createServer(handlers, { log })
const server = await listenSocket(settings.services, socket => calls.accept(socket))
log.info('ready')
onStop(log, async () => {
  await server.close()
})
