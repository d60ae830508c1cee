import { utf8 } from '../base/bytes.ts'
import { CodedError } from '../base/errors.ts'
import { releasePassphrase, stockBackupPassphrase, witnessLedger } from '../qrexec/calls/release.ts'
import { QrexecError } from '../qrexec/errors.ts'
import { endWith, type Handler, respond } from '../qrexec/server.ts'
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
    [stockBackupPassphrase.service]: serveStock(releaser),
  }
}

/**
 * Stock qubesd takes whatever comes before the end as the passphrase, an empty answer too, and a socket service cannot
 * fail: its exit code is always 0. So "no" must not be empty, nor something that could be a passphrase. qubesd refuses
 * an answer with a newline inside ("Passphrase must not contain newline character"), and the backup fails, as it must.
 */
function serveStock(releaser: Releaser): Handler {
  return async ({ stream, source, argument }) => {
    const gone = new AbortController()
    stream.once('close', () => gone.abort(new QrexecError('QREXEC_UNREACHABLE', 'the caller has gone')))
    // Whatever the caller sends is not for us; unread, it would keep the connection from closing.
    stream.resume()
    try {
      using passphrase = await releaser.releaseStock({ source, argument, signal: gone.signal })
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
