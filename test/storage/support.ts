import fs from 'node:fs/promises'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import type { Duplex } from 'node:stream'
import type { Clock, Entropy } from '../../src/base/environment.ts'
import { systemEntropy } from '../../src/base/environment.ts'
import { silentLog } from '../../src/base/log.ts'
import type { VmName } from '../../src/base/names.ts'
import { storageObjects } from '../../src/qrexec/calls/storage.ts'
import type { Handler } from '../../src/qrexec/server.ts'
import type { PrunableObjectStore } from '../../src/storage/object-store.ts'
import { pacedStream } from '../../src/storage/paced-stream.ts'
import { connectStorage, type RemoteStore } from '../../src/storage/remote.ts'
import { serveStorage } from '../../src/storage/sink.ts'
import type { UploadShare } from '../../src/storage/upload-budget.ts'

/** Time that passes only by sleeping. */
export class SleepingClock implements Clock {
  #now: number
  readonly sleeps: number[] = []

  constructor(now = Date.UTC(2026, 10, 24)) {
    this.#now = now
  }
  now(): Date {
    return new Date(this.#now)
  }
  monotonic(): number {
    return this.#now
  }
  async sleep(duration: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    this.sleeps.push(duration)
    this.#now += duration
  }
}

export const entropy: Entropy = systemEntropy

export async function temporaryDirectory(): Promise<AsyncDisposable & { readonly path: string }> {
  const directory = await fs.mkdtemp(path.join(os.tmpdir(), 'strongroom-storage-'))
  return {
    path: directory,
    [Symbol.asyncDispose]: () => fs.rm(directory, { recursive: true, force: true }),
  }
}

/** Both ends of a real Unix socket. */
export async function socketPair(): Promise<
  AsyncDisposable & { readonly client: Duplex; readonly server: Duplex }
> {
  await using directory = await temporaryDirectory()
  const address = path.join(directory.path, 'pair.sock')
  const listener = net.createServer({ allowHalfOpen: true })
  const accepted = new Promise<net.Socket>(resolve => listener.once('connection', resolve))
  await new Promise<void>(resolve => listener.listen(address, resolve))
  const client = net.connect({ path: address, allowHalfOpen: true })
  const server = await accepted
  listener.close()
  return {
    client,
    server,
    async [Symbol.asyncDispose]() {
      client.destroy()
      server.destroy()
    },
  }
}

/** Runs a handler as the qrexec server does: the stream ends with it. */
export async function runHandler(
  handler: Handler | undefined,
  call: {
    readonly service: string
    readonly argument: string
    readonly source: string
    readonly stream: Duplex
  },
): Promise<void> {
  if (handler === undefined) throw new Error(`no handler for ${call.service}`)
  call.stream.on('error', () => {})
  try {
    await handler({ ...call, source: call.source as VmName })
  } catch {
    call.stream.destroy()
  }
}

export interface ServedStore extends AsyncDisposable {
  readonly remote: RemoteStore
  /** The two ends, to break them. */
  readonly client: Duplex
  readonly server: Duplex
  /** Resolves when the storage VM's end is done. */
  readonly served: Promise<void>
}

/** `store` behind the whole storage call, as dom0 sees it; what is sent waits for `upload`. */
export async function serve(store: PrunableObjectStore, upload?: UploadShare): Promise<ServedStore> {
  const pair = await socketPair()
  const handlers = serveStorage({ repositories: () => store, log: silentLog, entropy })
  const { service } = storageObjects
  const call = { service, argument: 'work-1', source: 'dom0', stream: pair.server }
  const served = runHandler(handlers[service], call)
  const remote = connectStorage(upload === undefined ? pair.client : pacedStream(pair.client, upload))
  return {
    remote,
    client: pair.client,
    server: pair.server,
    served,
    async [Symbol.asyncDispose]() {
      await remote[Symbol.asyncDispose]()
      await served
      await pair[Symbol.asyncDispose]()
    },
  }
}
