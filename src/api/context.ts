import type { Environment } from '../base/environment.ts'
import type { Log } from '../base/log.ts'
import type { TokenCheck } from './auth.ts'
import type { Catalogue } from './catalogue/catalogue.ts'
import type { Dom0Port } from './dom0.ts'
import type { JobFeeds } from './job-feeds.ts'
import type { JobHistory } from './job-history.ts'
import type { MachineWatch } from './machine-watch.ts'

/** What the API is made of; nothing else is reached. */
export interface ApiPorts {
  readonly dom0: Dom0Port
  readonly catalogue: Catalogue
  readonly environment: Environment
  readonly log: Log
  readonly token: TokenCheck
  /** The log whose checkpoints this VM witnesses, and the keys it checks them with; null before that is set up. */
  readonly ledger: { readonly origin: string; readonly verifierKeys: readonly string[] } | null
  /** Asks dom0 to attest; null before the ledger is set up. */
  readonly machine: Pick<MachineWatch, 'latest' | 'look'> | null
}

/** What every route is given. */
export interface RouteContext extends ApiPorts {
  readonly history: JobHistory
  readonly feeds: JobFeeds
  /** Aborted when the API closes: ends event streams, and calls to dom0 that no one waits for any more. */
  readonly closing: AbortSignal
}
