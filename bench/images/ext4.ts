import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import { blockBytes } from './contents.ts'

/** e2fsprogs without root, mounts or network. Times are fixed, so that images do not depend on the clock. */

const time = '1735689600'
const environment = {
  ...process.env,
  PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
  SOURCE_DATE_EPOCH: time,
  E2FSPROGS_FAKE_TIME: time,
  DEBUGFS_PAGER: 'cat',
}
const outputBytesMax = 256 * 1024 * 1024

/** A new ext4 image that holds the files of a directory. */
export function makeFileSystem(image: string, bytes: number, directory: string, label: string): void {
  fs.rmSync(image, { force: true })
  fs.writeFileSync(image, '')
  fs.truncateSync(image, bytes)
  const extended = `hash_seed=${uuidOf(`${label} hash`)},lazy_itable_init=1,lazy_journal_init=1`
  const options = ['-q', '-F', '-b', String(blockBytes), '-U', uuidOf(label), '-E', extended]
  execFileSync('mkfs.ext4', [...options, '-L', label, '-d', directory, image], { env: environment })
}

/** Runs debugfs commands; bitmaps, inodes and directories change the way a file system changes them. */
export function changeFiles(image: string, commands: readonly string[]): void {
  const { status, stderr } = spawnSync('debugfs', ['-w', '-f', '-', image], {
    input: `${commands.join('\n')}\n`,
    env: environment,
    maxBuffer: outputBytesMax,
    encoding: 'utf8',
  })
  const complaints = stderr.split('\n').filter(line => line !== '' && !/^debugfs \d/.test(line))
  if (status !== 0 || complaints.length > 0)
    throw new Error(`debugfs: ${complaints.slice(0, 5).join(' | ') || `exit status ${status}`}`)
}

/** Numbers of the blocks that hold a file's data, in order. */
export function dataBlocks(image: string, file: string): readonly number[] {
  const listing = execFileSync('debugfs', ['-R', `ex -l /${file}`, image], {
    env: environment,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    maxBuffer: outputBytesMax,
  })
  const blocks: number[] = []
  // Level/levels, entry/entries, logical first - last, physical first - last, length.
  for (const line of listing.split('\n')) {
    const extent = /^\s*\d+\/\s*\d+\s+\d+\/\s*\d+\s+\d+\s*-\s*\d+\s+(\d+)\s*-\s*(\d+)/.exec(line)
    if (extent !== null)
      for (let block = Number(extent[1]); block <= Number(extent[2]); block++) blocks.push(block)
  }
  return blocks
}

/** Throws when a file system is damaged: no benchmark of nonsense. */
export function checkFileSystem(image: string): void {
  const { status, stdout } = spawnSync('e2fsck', ['-fn', image], { env: environment, encoding: 'utf8' })
  if (status !== 0) throw new Error(`e2fsck says that ${image} is damaged:\n${stdout}`)
}

function uuidOf(label: string): string {
  const hex = createHash('sha256').update(`uuid ${label}`).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}
