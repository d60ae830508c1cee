import { open } from 'node:fs/promises'
import { TpmError } from '../errors.ts'
import { joined } from '../public/marshal.ts'
import { type Channel, channelBufferLength, isPossibleLength, statedLength } from './channel.ts'

/*
 * /dev/tpmrm0 or /dev/tpm0: one write is a command, one read its answer. The kernel lets nobody break off a command, so
 * giving up leaves its thread waiting until the TPM has answered.
 */

export async function openDevice(path: string): Promise<Channel> {
  const handle = await open(path, 'r+').catch(cause => {
    throw new TpmError('TPM_UNREACHABLE', `${path} cannot be opened`, { cause })
  })
  const answer = async (command: Uint8Array): Promise<Uint8Array> => {
    const buffer = Buffer.alloc(channelBufferLength)
    try {
      await handle.write(command)
      let at = 0
      for (;;) {
        const { bytesRead } = await handle.read(buffer, at, buffer.byteLength - at, null)
        at += bytesRead
        const length = statedLength(buffer.subarray(0, at))
        if (length !== null && isPossibleLength(length) && at === length)
          return joined(buffer.subarray(0, at))
        if (bytesRead === 0 || (length !== null && (!isPossibleLength(length) || at > length)))
          throw new TpmError('TPM_MALFORMED', `an answer of ${at} bytes that states ${length ?? 'no length'}`)
      }
    } finally {
      buffer.fill(0)
    }
  }
  return {
    exchange: async (command, stop) => {
      const { promise: stopped, reject } = Promise.withResolvers<never>()
      const abort = () => reject(stop.reason)
      stop.throwIfAborted()
      stop.addEventListener('abort', abort, { once: true })
      try {
        // A copy: the caller clears its command when this returns, and the device may still be reading it.
        return await Promise.race([answer(command.slice()).catch(explain), stopped])
      } finally {
        stop.removeEventListener('abort', abort)
      }
    },
    isClosed: () => false,
    close: () => {
      handle.close().catch(() => {})
    },
  }
}

function explain(cause: unknown): never {
  if (cause instanceof TpmError) throw cause
  throw new TpmError('TPM_UNREACHABLE', 'the TPM device gives no answer', { cause, retry: true })
}
