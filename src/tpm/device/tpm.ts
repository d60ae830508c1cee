import { stat } from 'node:fs/promises'
import type { Milliseconds } from '../../base/brand.ts'
import { deadline } from '../../base/environment.ts'
import { Serially } from '../../base/serially.ts'
import { TpmError } from '../errors.ts'
import type { Channel } from './channel.ts'
import { openDevice } from './character-device.ts'
import { openSocket } from './socket.ts'

/** Where commands go: one after another, in the order in which they came. */
export interface Tpm {
  /**
   * Sends one command and gives its answer, whatever it says. Throws `TPM_UNREACHABLE`, `TPM_TIMEOUT`, `TPM_MALFORMED`, or
   * the signal's reason; then the next command begins on a new connection, and what this one did is not known.
   */
  transact(command: Uint8Array, signal: AbortSignal): Promise<Uint8Array>
  /** After the commands that came before. */
  close(): Promise<void>
}

/** A TPM makes P-256 keys in well under a second; some make RSA keys in half a minute. */
const commandMillisecondsDefault = 60_000

/** `path` is /dev/tpmrm0, /dev/tpm0, or the Unix socket of a software TPM. Opens it with the first command. */
export function openTpm(path: string, commandMilliseconds: Milliseconds = commandMillisecondsDefault): Tpm {
  const commands = new Serially()
  let channel: Channel | null = null
  const drop = () => {
    channel?.close()
    channel = null
  }
  const late = () =>
    new TpmError('TPM_TIMEOUT', `no answer of the TPM within ${commandMilliseconds} ms`, { retry: true })
  return {
    transact: (command, signal) =>
      commands.run(async () => {
        const stop = deadline(commandMilliseconds, late, signal)
        stop.throwIfAborted()
        try {
          if (channel?.isClosed()) drop()
          channel ??= await openChannel(path, stop)
          return await channel.exchange(command, stop)
        } catch (error) {
          // An answer that comes later would be taken for that to the next command.
          drop()
          if (stop.aborted) throw stop.reason
          throw error
        }
      }),
    close: () => commands.run(async () => drop()),
  }
}

async function openChannel(path: string, stop: AbortSignal): Promise<Channel> {
  const found = await stat(path).catch(cause => {
    throw new TpmError('TPM_UNREACHABLE', `there is no ${path}`, { cause })
  })
  if (found.isSocket()) return openSocket(path, stop)
  if (found.isCharacterDevice()) return openDevice(path)
  throw new TpmError('TPM_UNREACHABLE', `${path} is neither a device nor a socket`)
}
