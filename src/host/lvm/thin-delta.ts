import { HostError } from '../errors.ts'
import { ExtentList } from '../extent-list.ts'
import type { Extent } from '../volumes.ts'

/*
 * What `thin_delta` of thin-provisioning-tools says about two devices of one thin pool (`left` and `right`):
 *
 *   <superblock uuid="" time="2" transaction="3" data_block_size="128" nr_data_blocks="0">
 *     <diff left="2" right="3">
 *       <same begin="4" length="1"/>
 *       …
 *     </diff>
 *   </superblock>
 *
 * One element a line, in all versions; lengths in blocks of `data_block_size` sectors of 512 bytes. It compares which
 * block of the pool each range is mapped to: `same` to the same one, `different` to two, `left_only` and `right_only`
 * in one device alone. A range that is not listed is mapped in neither.
 */

const sector = 512
/** 64 KiB to 1 GiB, as dm-thin has it. */
const blockSectors = { min: 128, max: 2 * 1024 * 1024, multiple: 128 }

export interface ThinDelta {
  readonly kind: 'same' | 'different' | 'left_only' | 'right_only'
  /** In bytes. */
  readonly offset: number
  readonly end: number
}

/** Which question was asked; an answer to another is refused. */
export interface ThinQuestion {
  readonly left: number
  readonly right: number
  /** Both devices are in the pool's metadata since this transaction. */
  readonly transactionMin: number
}

type Attributes = Readonly<Record<string, string>>

const element = /^ *<([a-z_]+)((?: [a-z_]+="[0-9a-zA-Z-]{0,64}")*)(\/?)>$/
const closing = /^ *<\/([a-z_]+)>$/
const attribute = / ([a-z_]+)="([^"]*)"/g

/** Ascending, not overlapping. Throws `VOLUME_MAP`: whatever it yielded before is then not to be believed. */
export async function* readThinDelta(
  lines: AsyncIterable<string>,
  question: ThinQuestion,
): AsyncGenerator<ThinDelta> {
  const open: string[] = []
  let done = false
  let blockBytes = 0
  let end = 0
  for await (const line of lines) {
    if (done && line.trim() !== '') throw unexpected(line)
    const [, name, text = '', empty] = element.exec(line) ?? []
    const closed = closing.exec(line)?.[1]
    const place = open.join('/')
    if (name === 'superblock' && place === '' && empty === '') {
      blockBytes = blockBytesOf(attributesOf(text, line), question, line)
      open.push(name)
    } else if (name === 'diff' && place === 'superblock' && empty === '' && end === 0) {
      checkDevices(attributesOf(text, line), question, line)
      open.push(name)
    } else if (isKind(name) && place === 'superblock/diff' && empty === '/') {
      const { begin, length, ...rest } = attributesOf(text, line)
      const delta = { kind: name, offset: numberOf(begin) * blockBytes, end: 0 }
      delta.end = delta.offset + numberOf(length) * blockBytes
      if (Object.keys(rest).length > 0 || delta.offset < end || delta.end <= delta.offset)
        throw unexpected(line)
      if (!Number.isSafeInteger(delta.end)) throw unexpected(line)
      end = delta.end
      yield delta
    } else if (closed !== undefined && closed === open.at(-1)) {
      open.pop()
      // One difference, and it must have been there.
      if (closed === 'diff') end = Number.POSITIVE_INFINITY
      done = open.length === 0
    } else if (line !== '' || !done) throw unexpected(line)
  }
  if (!done || end !== Number.POSITIVE_INFINITY)
    throw new HostError('VOLUME_MAP', 'thin_delta ended too soon')
}

/**
 * The extents of the right device, of `bytes`, as they are now. `compared: false`: left and right are the same device,
 * and what is mapped is data. A device without an external origin reads as zeros where nothing is mapped.
 */
export async function thinExtents(
  deltas: AsyncIterable<ThinDelta>,
  bytes: number,
  compared: boolean,
): Promise<readonly Extent[]> {
  const list = new ExtentList(bytes)
  for await (const { kind, offset, end } of deltas) {
    list.add('hole', offset)
    if (kind === 'left_only') list.add('hole', end)
    else list.add(kind === 'same' && compared ? 'unchanged' : 'data', end)
  }
  list.add('hole', bytes)
  return list.finish()
}

function blockBytesOf(attributes: Attributes, { transactionMin }: ThinQuestion, line: string): number {
  const { uuid, time, transaction, data_block_size, nr_data_blocks, version, metadata_snap, ...rest } =
    attributes
  // `flags` says that the pool's metadata must be checked before it is believed.
  if (Object.keys(rest).length > 0 || uuid === undefined) throw unexpected(line)
  for (const optional of [version, metadata_snap]) if (optional !== undefined) numberOf(optional)
  for (const required of [time, nr_data_blocks]) numberOf(required)
  if (numberOf(transaction) < transactionMin)
    throw new HostError(
      'VOLUME_MAP',
      `thin_delta read metadata of transaction ${transaction}, before ${transactionMin}`,
    )
  const sectors = numberOf(data_block_size)
  const { min, max, multiple } = blockSectors
  if (sectors < min || sectors > max || sectors % multiple !== 0) throw unexpected(line)
  return sectors * sector
}

function checkDevices(attributes: Attributes, question: ThinQuestion, line: string): void {
  const { left, right, ...rest } = attributes
  const asked = numberOf(left) === question.left && numberOf(right) === question.right
  if (!asked || Object.keys(rest).length > 0) throw unexpected(line)
}

function attributesOf(text: string, line: string): Attributes {
  const attributes: Record<string, string> = Object.create(null)
  for (const [, name = '', value = ''] of text.matchAll(attribute)) {
    if (name in attributes) throw unexpected(line)
    attributes[name] = value
  }
  return attributes
}

function numberOf(text: string | undefined): number {
  if (text === undefined || !/^\d{1,16}$/.test(text) || !Number.isSafeInteger(Number(text)))
    throw new HostError('VOLUME_MAP', `thin_delta has '${text}' where a number should be`)
  return Number(text)
}

function isKind(name: string | undefined): name is ThinDelta['kind'] {
  return name === 'same' || name === 'different' || name === 'left_only' || name === 'right_only'
}

function unexpected(line: string): HostError {
  return new HostError('VOLUME_MAP', `thin_delta said: ${line.slice(0, 200)}`)
}
