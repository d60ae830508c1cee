import { type Commands, linesOf } from '../commands.ts'
import { HostError } from '../errors.ts'
import { knownFileSystems } from './file-systems.ts'

/*
 * Where a file's bytes lie on the disk, as FIEMAP says it. Node cannot ask: it has neither SEEK_HOLE nor ioctl. So
 * `filefrag` of e2fsprogs does, which every Debian and Fedora has; what else was tried is in
 * docs/explanation/unchanged.md. Only file systems that answer FIEMAP from what is on the disk after a sync are
 * believed, and only an output that is what filefrag writes, to the letter.
 */

const filefrag = '/usr/sbin/filefrag'
const millisecondsMax = 10 * 60_000
const outputBytesMax = 1024 ** 3
const lineLengthMax = 400

/** A file that is open, synced, and not written to. */
export interface OpenFile {
  readonly fd: number
  readonly bytes: number
  /** Blocks of 512 bytes in use, as stat says. */
  readonly blocks: number
}

/** A range that may hold data. Between two of them, and after the last, is nothing: zeros. */
export interface MappedRange {
  readonly offset: number
  readonly end: number
  /**
   * Address on the disk of a range whose blocks are shared with another file; `null` for every other. Blocks that are
   * shared are never written in place, so the same address means the same bytes.
   */
  readonly shared: number | null
}

const header = [
  /^Filesystem type is: ([0-9a-f]{1,16})$/,
  /^File size of \/proc\/self\/fd\/3 is (\d{1,16}) \(\d+ blocks? of 1 bytes\)$/,
  /^ ext: +logical_offset: +physical_offset: length: +expected: flags:$/,
] as const
const row = /^ *\d+: +(\d{1,16})\.\. *(\d{1,16}): +(\d{1,20})\.\. *\d+: +\d+:(?: +\d+:)? *([a-z0-9_,]*)$/
const footer = /^\/proc\/self\/fd\/3: (\d+) extents? found$/

/**
 * Ascending, not overlapping. `onLine` is given each line of the output. Throws `VOLUME_MAP` or `COMMAND_FAILED`:
 * whatever it yielded before is then not to be believed.
 */
export async function* mapFile(
  commands: Commands,
  { fd, bytes, blocks }: OpenFile,
  signal: AbortSignal,
  onLine: (line: string) => void = () => {},
): AsyncGenerator<MappedRange> {
  // -s: written out before it is looked at. -b1: in bytes. Without -e: when FIEMAP fails, filefrag turns to FIBMAP,
  // which prints no rows then, and is recognised by that.
  const command = { program: filefrag, arguments: ['-v', '-s', '-b1', '/proc/self/fd/3'], file: fd }
  const output = commands.output({ ...command, millisecondsMax, outputBytesMax }, signal)
  let lines = 0
  let rows = 0
  let end = 0
  let found: number | null = null
  for await (const text of linesOf(output, lineLengthMax)) {
    onLine(text)
    if (found !== null) throw unexpected(text)
    // Without rows there is no heading of columns either.
    const last = lines === 2 || rows > 0 ? footer.exec(text) : null
    if (last !== null) found = Number(last[1])
    else if (lines < header.length) checkHeader(lines, text, bytes)
    else {
      const range = parseRow(text)
      if (range.offset < end) throw unexpected(text)
      end = range.end
      rows += 1
      yield range
    }
    lines += 1
  }
  if (found === null || (found === 0) !== (rows === 0))
    throw new HostError('VOLUME_MAP', `filefrag showed ${rows} rows, and found ${found ?? 'no'} extents`)
  // Nothing is there at all: then nothing takes room either.
  if (rows === 0 && blocks > 0)
    throw new HostError('VOLUME_MAP', `filefrag found nothing, and stat ${blocks} blocks`)
}

function checkHeader(line: number, text: string, bytes: number): void {
  const value = header[line]?.exec(text)?.[1]
  const fits =
    line === 0
      ? value !== undefined && knownFileSystems.has(BigInt(`0x${value}`))
      : line === 1
        ? Number(value) === bytes
        : header[line]?.test(text)
  if (!fits) throw unexpected(text)
}

function parseRow(text: string): MappedRange {
  const [, first, last, physical, flags] = row.exec(text) ?? []
  const [offset, end, address] = [Number(first), Number(last) + 1, Number(physical)]
  if (!Number.isSafeInteger(end) || offset >= end) throw unexpected(text)
  const names = new Set(flags?.split(',').filter(name => name !== ''))
  // Mapped block by block, as ext3 did, or by FIBMAP: neither is a map that we know to be whole.
  if (names.has('merged')) throw unexpected(text)
  const plain = [...names].every(name => name === 'last' || name === 'eof' || name === 'shared')
  const shared = plain && names.has('shared') && Number.isSafeInteger(address) && address > 0
  return { offset, end, shared: shared ? address : null }
}

function unexpected(text: string): HostError {
  return new HostError('VOLUME_MAP', `filefrag said: ${text}`)
}
