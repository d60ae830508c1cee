import type { Duplex } from 'node:stream'
import { utf8 } from '../base/bytes.ts'
import { CodedError } from '../base/errors.ts'
import { Untrusted } from '../base/untrusted.ts'
import {
  releasePassphrase,
  stockBackupPassphrase,
  stockRestorePassphrase,
  witnessLedger,
} from '../qrexec/calls/release.ts'
import { QrexecError } from '../qrexec/errors.ts'
import { endWith, type Handler, readRequest, respond } from '../qrexec/server.ts'
import type { StockWanted } from './release.ts'
import type { Releaser } from './releaser.ts'

/** The services of the HSM VM. A caller that goes away stops what is done for it. */
export function serveHsm(releaser: Releaser): Readonly<Record<string, Handler>> {
  const options = { abortOnDisconnect: true } as const
  return {
    [releasePassphrase.service]: respond(
      releasePassphrase,
      (call, caller) => releaser.release(call, caller),
      options,
    ),
    [witnessLedger.service]: respond(
      witnessLedger,
      (call, caller) => releaser.witness(call, caller),
      options,
    ),
    [stockBackupPassphrase.service]: serveStock(releaser, 'backup'),
    [stockRestorePassphrase.service]: serveStock(releaser, 'restore'),
  }
}

/** The number of an epoch, and a newline. */
const stockInputBytesMax = 8
const nothing = new Untrusted(new Uint8Array(0))

/**
 * Stock qubesd takes whatever comes before the end as the passphrase, an empty answer too, and a socket service cannot
 * fail: its exit code is always 0. So "no" must not be empty, nor something that could be a passphrase. qubesd refuses
 * an answer with a newline inside ("Passphrase must not contain newline character"), and the backup fails, as it must.
 * qvm-backup-restore takes the first line, which opens nothing.
 */
function serveStock(releaser: Releaser, purpose: StockWanted['purpose']): Handler {
  return async ({ stream, source, argument }) => {
    const gone = new AbortController()
    stream.once('close', () => gone.abort(new QrexecError('QREXEC_UNREACHABLE', 'the caller has gone')))
    const caller = { source, argument, signal: gone.signal }
    try {
      using passphrase = await releaser.releaseStock(purpose, await stockInput(stream, purpose), caller)
      endWith(
        stream,
        passphrase.expose(bytes => bytes.slice()),
      )
    } catch (error) {
      const code = error instanceof CodedError ? error.code : 'INTERNAL'
      stream.end(utf8(`strongroom: refused: ${code}\nno passphrase is released\n`))
      throw error
    }
  }
}

/** What qubesd sends is not for us; unread, it would keep the connection from closing. */
async function stockInput(stream: Duplex, purpose: StockWanted['purpose']): Promise<Untrusted<Uint8Array>> {
  if (purpose === 'restore') return await readRequest(stream, stockInputBytesMax)
  stream.resume()
  return nothing
}
