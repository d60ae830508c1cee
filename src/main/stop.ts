import type { Log } from '../base/log.ts'

/** Runs `stop` once, at SIGTERM or SIGINT, then leaves with status 0; a second signal leaves at once. */
export function onStop(log: Log, stop: () => Promise<void>): void {
  let stopping = false
  const leave = (signal: NodeJS.Signals) => {
    if (stopping) process.exit(130)
    stopping = true
    log.info('stopping', { signal })
    stop().then(
      () => process.exit(0),
      error => {
        log.error('stopping failed', { error })
        process.exit(1)
      },
    )
  }
  process.on('SIGTERM', leave)
  process.on('SIGINT', leave)
}
