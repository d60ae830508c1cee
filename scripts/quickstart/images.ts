import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream, rmSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { makePrivateDirectory } from '../../src/base/files.ts'

/** Real ext4 images made of real files of this machine, without root: `mkfs.ext4 -d` and `debugfs -w`. */

const MiB = 1024 * 1024
const smallestBytes = 16 * 1024

/** Directories of work under way: removed also when the process is told to end. */
const temporary = new Set<string>()
process.once('exit', () => {
  for (const directory of temporary) rmSync(directory, { recursive: true, force: true })
})

async function inTemporaryDirectory(
  prefix: string,
  work: (directory: string) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(path.join(tmpdir(), prefix))
  temporary.add(directory)
  try {
    await work(directory)
  } finally {
    await rm(directory, { recursive: true, force: true })
    temporary.delete(directory)
  }
}

/** Runs a tool to its end; throws with its standard error if it fails. */
export async function run(command: string, args: readonly string[], input?: string): Promise<string> {
  const child = spawn(command, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin`, DEBUGFS_PAGER: 'cat' },
  })
  let out = ''
  let err = ''
  child.stdout.on('data', part => {
    out += part
  })
  child.stderr.on('data', part => {
    err += part
  })
  // A tool that reads no input may be gone before it is given any.
  child.stdin.on('error', () => {})
  child.stdin.end(input ?? '')
  const code = await new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', status => resolve(status ?? 1))
  })
  if (code !== 0) throw new Error(`${command} ${args[0] ?? ''}: exit ${code}: ${err.trim().slice(-500)}`)
  return out
}

/** An image of `bytes`, filled with up to `fillBytes` of files below `sources`. */
export async function makeImage(
  image: string,
  label: string,
  bytes: number,
  fillBytes: number,
  sources: readonly string[],
): Promise<void> {
  await inTemporaryDirectory('strongroom-image-', async staging => {
    await writeFile(path.join(staging, 'letter.txt'), `This is the day-one letter of ${label}.\n`)
    await mkdir(path.join(staging, 'documents'))
    await copySome(sources, path.join(staging, 'documents'), fillBytes)
    await rm(image, { force: true })
    await writeFile(image, '')
    await truncate(image, bytes)
    await run('mkfs.ext4', [
      '-q',
      '-F',
      '-L',
      label.slice(0, 16),
      '-E',
      'root_owner=1000:1000',
      '-d',
      staging,
      image,
    ])
  })
}

async function copySome(sources: readonly string[], target: string, bytesMax: number): Promise<void> {
  let left = bytesMax
  for (const source of sources) {
    if (!(await stat(source).catch(() => null))) continue
    for (const entry of await readdir(source, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue
      const from = path.join(entry.parentPath, entry.name)
      const { size } = await stat(from)
      // Few and larger files: copying thousands of tiny ones is what would take the time.
      if (size < smallestBytes || size > left || size > 16 * MiB) continue
      const to = path.join(target, path.relative('/', from))
      await mkdir(path.dirname(to), { recursive: true })
      await copyFile(from, to)
      left -= Math.max(4096, size)
      if (left < MiB) return
    }
  }
}

/** A day of use: a letter rewritten, a folder and a photo added. `label` makes each day another. */
export async function useForADay(image: string, label: string): Promise<void> {
  await inTemporaryDirectory('strongroom-day-', async work => {
    const letter = path.join(work, 'letter')
    const photo = path.join(work, 'photo')
    const day = createHash('sha256').update(label).digest('hex').slice(0, 8)
    await writeFile(letter, `This is a letter of ${label}: rewritten.\n`)
    await writeFile(
      photo,
      createHash('shake256', { outputLength: 3 * MiB })
        .update(label)
        .digest(),
    )
    const commands = [
      `mkdir day-${day}`,
      `write ${photo} day-${day}/photo.jpg`,
      'rm letter.txt',
      `write ${letter} letter.txt`,
    ]
    const said = await run('debugfs', ['-w', '-f', '-', image], `${commands.join('\n')}\nq\n`)
    if (/rror|not found|No free/.test(said)) throw new Error(`debugfs: ${said.slice(-300)}`)
    await run('e2fsck', ['-fn', image])
  })
}

export async function sha256OfFile(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const part of createReadStream(file, { highWaterMark: 4 * MiB })) hash.update(part)
  return hash.digest('hex')
}

/** A copy that keeps holes. */
export async function copySparse(from: string, to: string): Promise<void> {
  await makePrivateDirectory(path.dirname(to))
  await run('cp', ['--sparse=always', '--reflink=auto', from, to])
}

export async function sameBytes(a: string, b: string): Promise<boolean> {
  return run('cmp', [a, b]).then(
    () => true,
    () => false,
  )
}
