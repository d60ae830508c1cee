import type { Duplex } from 'node:stream'
import { errnoOf } from '../../base/errors.ts'
import { dom0, type VmName } from '../../base/names.ts'
import type { Transport } from '../../qrexec/call.ts'
import { QrexecError } from '../../qrexec/errors.ts'
import { encodeConnectRequest, encodeDescriptor, parseServiceName } from '../../qrexec/framing.ts'
import { connectSocket } from './socket.ts'
import { exitCodes } from './status.ts'

/** From a VM: through its own socket to the broker, which judges the call. `socketPath`: the VM's `qrexec.sock`. */
export function localTransport(socketPath: string): Transport {
  return {
    async open(service, argument, target, signal) {
      signal.throwIfAborted()
      parseServiceName(`${service}+${argument}`)
      const stream = bound(await reach(socketPath, 'the broker'), signal)
      stream.write(encodeConnectRequest({ target, service, argument }))
      const status = await firstByte(stream, signal)
      if (status === exitCodes.connected) return stream
      stream.destroy()
      const call = `${service}+${argument} to ${target}`
      if (status === exitCodes.refused) throw new QrexecError('QREXEC_REFUSED', `${call} was refused`)
      throw new QrexecError('QREXEC_UNREACHABLE', `${call}: ${explain(status)}`, { retry: true })
    },
  }
}

/** From dom0, whose calls no policy judges: straight to the target's `services.sock`. */
export function dom0Transport(servicesSocketOf: (vm: VmName) => string): Transport {
  return {
    async open(service, argument, target, signal) {
      signal.throwIfAborted()
      parseServiceName(`${service}+${argument}`)
      const stream = bound(await reach(servicesSocketOf(target), target), signal)
      stream.write(encodeDescriptor({ service, argument, source: dom0 }))
      return stream
    },
  }
}

async function reach(path: string, who: string): Promise<Duplex> {
  try {
    return await connectSocket(path)
  } catch (cause) {
    throw new QrexecError('QREXEC_UNREACHABLE', `${who} does not answer (${errnoOf(cause) ?? 'error'})`, {
      cause,
      retry: true,
    })
  }
}

/** The signal destroys the stream with its reason, for as long as the stream lives. */
function bound(stream: Duplex, signal: AbortSignal): Duplex {
  const cut = () => stream.destroy(signal.reason)
  // An error is seen by whoever reads or writes; one that nobody waits for must not end the process.
  stream.on('error', () => {})
  signal.addEventListener('abort', cut, { once: true })
  stream.once('close', () => signal.removeEventListener('abort', cut))
  if (signal.aborted) cut()
  return stream
}

/** `null`: the connection ended instead. */
function firstByte(stream: Duplex, signal: AbortSignal): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      stream.off('readable', onReadable).off('end', onEnd).off('close', onEnd)
      act()
    }
    const onReadable = () => {
      const byte = stream.read(1) as Buffer | null
      if (byte !== null) settle(() => resolve(byte[0] ?? null))
    }
    const onEnd = () => settle(() => (signal.aborted ? reject(signal.reason) : resolve(null)))
    stream.on('readable', onReadable).on('end', onEnd).on('close', onEnd)
  })
}

function explain(status: number | null): string {
  if (status === exitCodes.noService) return 'the target has no such service'
  return status === null ? 'the broker closed the connection' : `qrexec status ${status}`
}
