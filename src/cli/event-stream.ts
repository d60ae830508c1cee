import type { Readable } from 'node:stream'
import { BaseError } from '../base/base-errors.ts'
import { fromUtf8 } from '../base/bytes.ts'

export interface ServerSentEvent {
  readonly id: string
  readonly event: string
  readonly data: string
}

const lineFeed = 0x0a

/** Server-sent events (HTML standard, section 9.2.6) as this API sends them: UTF-8, lines end with LF. */
export async function* readEvents(stream: Readable, bytesMax: number): AsyncGenerator<ServerSentEvent> {
  let id = ''
  let event = 'message'
  let data: string[] = []
  for await (const line of lines(stream, bytesMax)) {
    if (line === '') {
      if (data.length > 0) yield { id, event, data: data.join('\n') }
      event = 'message'
      data = []
      continue
    }
    const [, field = '', value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? []
    if (field === 'id') id = value
    else if (field === 'event') event = value
    else if (field === 'data') data.push(value)
  }
}

async function* lines(stream: Readable, bytesMax: number): AsyncGenerator<string> {
  let rest = Buffer.alloc(0)
  for await (const part of stream as AsyncIterable<Buffer>) {
    rest = Buffer.concat([rest, part])
    for (let end = rest.indexOf(lineFeed); end >= 0; end = rest.indexOf(lineFeed)) {
      yield fromUtf8(rest.subarray(0, end))
      rest = rest.subarray(end + 1)
    }
    if (rest.byteLength > bytesMax)
      throw new BaseError('STREAM_TOO_LONG', `an event of more than ${bytesMax} bytes`)
  }
}
