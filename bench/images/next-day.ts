import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { blockBytes, databasePage, edited, text } from './contents.ts'
import { changeFiles, dataBlocks } from './ext4.ts'
import type { Kind, VolumeFile } from './first-day.ts'
import { Random } from './random.ts'

/**
 * One day of use. Its shape decides how a chunker with fixed sizes does, so it is a mix, in parts of the bytes that
 * change: documents rewritten with insertions, new media, many small cache files, and single pages written in place,
 * in databases, logs and an encrypted container.
 */
const mixes: Readonly<
  Record<Kind, Readonly<Record<'documents' | 'media' | 'cache' | 'pages' | 'logs' | 'container', number>>>
> = {
  root: { documents: 0.8, media: 0.1, cache: 0, pages: 0.1, logs: 0, container: 0 },
  private: { documents: 0.2, media: 0.3, cache: 0.2, pages: 0.2, logs: 0.05, container: 0.05 },
}
const containerWriteBlocks = 16

export interface Day {
  readonly before: string
  readonly after: string
  readonly kind: Kind
  readonly seed: string
  readonly files: readonly VolumeFile[]
  /** The staged files of the first day. */
  readonly staged: string
  readonly bytesChanged: number
}

/** Makes the image `after` from the image `before`. */
export function makeNextDay({ before, after, kind, seed, files, staged, bytesChanged }: Day): void {
  const random = new Random(`${seed} next day of ${kind}`)
  const mix = mixes[kind]
  execFileSync('cp', ['--sparse=always', before, after])
  const fresh = fs.mkdtempSync(`${after}.new-`)
  try {
    const script = new Script(fresh)
    rewriteDocuments(script, random, files, staged, bytesChanged * mix.documents)
    addMedia(script, random, bytesChanged * mix.media)
    addCache(script, random, bytesChanged * mix.cache)
    changeFiles(after, script.commands)
  } finally {
    fs.rmSync(fresh, { recursive: true })
  }
  writeInPlace(after, [
    ...databaseWrites(after, random, files, bytesChanged * mix.pages),
    ...logWrites(after, random, files, bytesChanged * mix.logs),
    ...containerWrites(after, random, bytesChanged * mix.container),
  ])
}

/** Collects debugfs commands, and the contents that they write. */
class Script {
  readonly commands: string[] = []
  readonly #directory: string
  #count = 0

  constructor(directory: string) {
    this.#directory = directory
  }

  write(file: string, bytes: Buffer): void {
    const source = path.join(this.#directory, `f${this.#count++}`)
    fs.writeFileSync(source, bytes)
    this.commands.push(`cd /${path.dirname(file)}`, `write ${source} ${path.basename(file)}`)
  }
}

function rewriteDocuments(
  script: Script,
  random: Random,
  files: readonly VolumeFile[],
  staged: string,
  bytes: number,
) {
  const documents = files.filter(
    file => file.role === 'document' && file.bytes <= Math.max(4 * blockBytes, bytes / 8),
  )
  const seen = new Set<string>()
  for (let left = bytes; left > 0 && seen.size < documents.length; ) {
    const file = random.pick(documents)
    if (seen.has(file.path)) continue
    seen.add(file.path)
    const changed = edited(
      random,
      fs.readFileSync(path.join(staged, file.path)),
      text(random, random.between(20, 900)),
    )
    script.commands.push(`rm /${file.path}`)
    script.write(file.path, changed)
    left -= wholeBlocks(changed.byteLength)
  }
}

function addMedia(script: Script, random: Random, bytes: number): void {
  for (let left = bytes, number = 0; left > 0; number++) {
    const length = Math.min(
      random.between(200 * 1024, 6 * 1024 * 1024),
      Math.max(blockBytes, Math.floor(left)),
    )
    script.write(`media/new${number}.jpg`, random.bytes(length))
    left -= wholeBlocks(length)
  }
}

function addCache(script: Script, random: Random, bytes: number): void {
  if (bytes > 0) script.commands.push('cd /', 'mkdir cache')
  for (let left = bytes, number = 0; left > 0; number++) {
    const length = random.between(300, 48 * 1024)
    script.write(`cache/c${number}`, random.below(3) === 0 ? text(random, length) : random.bytes(length))
    left -= wholeBlocks(length)
  }
}

interface Write {
  readonly block: number
  readonly bytes: Buffer
}

function databaseWrites(image: string, random: Random, files: readonly VolumeFile[], bytes: number): Write[] {
  const databases = files.filter(({ role }) => role === 'database').map(file => dataBlocks(image, file.path))
  return Array.from({ length: Math.floor(bytes / blockBytes) }, (_, number) => ({
    block: random.pick(random.pick(databases)),
    bytes: databasePage(random, number),
  }))
}

function logWrites(image: string, random: Random, files: readonly VolumeFile[], bytes: number): Write[] {
  const logs = files.filter(({ role }) => role === 'log').map(file => dataBlocks(image, file.path))
  return logs
    .flatMap(blocks => blocks.slice(-Math.ceil(bytes / logs.length / blockBytes)))
    .map(block => ({ block, bytes: text(random, blockBytes) }))
}

function containerWrites(image: string, random: Random, bytes: number): Write[] {
  if (bytes === 0) return []
  const blocks = dataBlocks(image, 'data/container.bin')
  return Array.from({ length: Math.floor(bytes / blockBytes / containerWriteBlocks) }, () => {
    const first = random.below(Math.max(1, blocks.length - containerWriteBlocks))
    return blocks
      .slice(first, first + containerWriteBlocks)
      .map(block => ({ block, bytes: random.bytes(blockBytes) }))
  }).flat()
}

function writeInPlace(image: string, writes: readonly Write[]): void {
  const handle = fs.openSync(image, 'r+')
  for (const { block, bytes } of writes) fs.writeSync(handle, bytes, 0, bytes.byteLength, block * blockBytes)
  fs.closeSync(handle)
}

function wholeBlocks(bytes: number): number {
  return Math.ceil(bytes / blockBytes) * blockBytes
}
