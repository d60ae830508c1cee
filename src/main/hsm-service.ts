import path from 'node:path'
import type { Milliseconds } from '../base/brand.ts'
import { errnoOf } from '../base/errors.ts'
import { parseVmName } from '../base/names.ts'
import { connectSocket } from '../host/local/socket.ts'
import type { Call, Transport } from '../qrexec/call.ts'
import { callOver } from '../qrexec/client.ts'
import { QrexecError } from '../qrexec/errors.ts'
import { encodeDescriptor } from '../qrexec/framing.ts'

/* What a person's commands ask of the service that runs in the same HSM VM (`src/hsm/control.ts`). */

const timeoutMilliseconds: Milliseconds = 10_000
/** Caller and called are the same VM, which no policy judges. */
export const thisVm = parseVmName('hsm')

export function controlSocket(home: string): string {
  return path.join(home, 'control.sock')
}

/** Throws `QREXEC_UNREACHABLE` where no service runs, and what it throws. */
export function askService<Request, Response>(
  home: string,
  call: Call<Request, Response>,
  request: Request,
  signal: AbortSignal,
  milliseconds: Milliseconds = timeoutMilliseconds,
): Promise<Response> {
  return callOver(transport(home), call, thisVm, '', request, signal, milliseconds)
}

function transport(home: string): Transport {
  return {
    async open(service, argument, _, signal) {
      signal.throwIfAborted()
      const stream = await connectSocket(controlSocket(home)).catch(cause => {
        throw new QrexecError(
          'QREXEC_UNREACHABLE',
          `the service of this HSM VM does not answer (${errnoOf(cause) ?? 'error'})`,
          { cause, hint: 'start it: strongroom hsm' },
        )
      })
      stream.write(encodeDescriptor({ service, argument, source: thisVm }))
      return stream
    },
  }
}
