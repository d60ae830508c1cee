import { setMaxListeners } from 'node:events'

/** Calls `listener` when `signal` aborts; returns how to stop that. Hundreds of requests may share one signal. */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  setMaxListeners(0, signal)
  signal.addEventListener('abort', listener, { once: true })
  return () => signal.removeEventListener('abort', listener)
}
