import { BaseError } from '../base/base-errors.ts'
import { utf8 } from '../base/bytes.ts'
import { errnoOf, printable } from '../base/errors.ts'
import { readBounded, writeDurably } from '../base/files.ts'
import { fields, is, parseJson } from '../base/json.ts'
import type { Log } from '../base/log.ts'
import { type Loopback, openLoopback } from '../host/local/loopback.ts'

/*
 * The port of the API outlives a stop and a start: addresses stand in people's shells and scripts.
 */

const portFileBytesMax = 200
const portMax = 65_535
const anyPort = 0
const parsePortFile = fields('port file', { port: is.integer(1, portMax) })

export interface Door {
  /** The Unix socket that is behind it. */
  readonly socket: string
  /** Remembers the port. */
  readonly portFile: string
  /** `--port`; the remembered port, or any, where absent. */
  readonly asked: string | undefined
  readonly log: Log
}

/** Opens the API's socket on the loopback interface. Throws `FIELD_INVALID` for a port that was asked for and is none, or taken. */
export async function openDoor({ socket, portFile, asked, log }: Door): Promise<Loopback> {
  const loopback =
    asked === undefined
      ? await openRemembered(socket, await rememberedPort(portFile), log)
      : await openAsked(socket, parsePort(asked))
  await writeDurably(portFile, utf8(JSON.stringify({ port: loopback.port })))
  return loopback
}

async function openRemembered(socket: string, port: number | null, log: Log): Promise<Loopback> {
  try {
    return await openLoopback(socket, port ?? anyPort)
  } catch (error) {
    if (port === null || errnoOf(error) !== 'EADDRINUSE') throw error
    const other = await openLoopback(socket, anyPort)
    log.warn('the port of the API is taken by another program: it is on another one now', {
      before: port,
      now: other.port,
    })
    return other
  }
}

async function openAsked(socket: string, port: number): Promise<Loopback> {
  return openLoopback(socket, port).catch(cause => {
    if (errnoOf(cause) !== 'EADDRINUSE') throw cause
    throw new BaseError('FIELD_INVALID', `port ${port} is taken`, { cause, hint: 'choose another --port' })
  })
}

function parsePort(untrustedText: string): number {
  const port = /^\d{1,5}$/.test(untrustedText) ? Number(untrustedText) : 0
  if (port >= 1 && port <= portMax) return port
  throw new BaseError(
    'FIELD_INVALID',
    `--port is '${printable(untrustedText).slice(0, 40)}'; expected 1 to ${portMax}`,
  )
}

async function rememberedPort(file: string): Promise<number | null> {
  const content = await readBounded(file, portFileBytesMax)
  return content?.parse(bytes => parsePortFile(parseJson(bytes, { bytesMax: portFileBytesMax })).port) ?? null
}
