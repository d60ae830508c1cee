import { utf8 } from '../base/bytes.ts'
import type { Digest } from '../base/names.ts'
import { Sha256 } from './digest.ts'

/**
 * SHA-256 over a tree of files, as the reference page of images has it: one record an entry, each field followed by NUL
 * and the record by a line feed. Entries come sorted by the bytes of their names, a directory before what is in it
 * (`compareTreePaths`). Paths are relative and with `/`; neither they nor targets hold a NUL.
 */
export class TreeDigest {
  readonly #digest = new Sha256()

  directory(path: string): void {
    this.#record('directory', '', path)
  }

  link(path: string, target: string): void {
    this.#record('link', target, path)
  }

  file(path: string, content: { executable: boolean; bytes: number; digest: Digest }): void {
    const { executable, bytes, digest } = content
    this.#record(executable ? 'program' : 'file', `${bytes} ${digest}`, path)
  }

  /** Once. */
  finish(): Digest {
    return this.#digest.finish()
  }

  #record(...fields: readonly string[]): void {
    this.#digest.update(utf8(`${fields.join('\0')}\0\n`))
  }
}

/** Of names in one directory: by their bytes in UTF-8. */
export function compareNames(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other))
}

/** The order in which a tree is walked: `a`, `a/b`, `a.b`, although a dot sorts before a slash. */
function compareTreePaths(one: string, other: string): number {
  return compareNames(one.replaceAll('/', '\0'), other.replaceAll('/', '\0'))
}

/** Files by their paths, in the order of a walk, with the directories that they need. */
export function* treeOfFiles(
  paths: Iterable<string>,
): Generator<{ readonly kind: 'directory' | 'file'; readonly path: string }> {
  const made = new Set<string>()
  for (const path of [...paths].sort(compareTreePaths)) {
    for (let slash = path.indexOf('/'); slash !== -1; slash = path.indexOf('/', slash + 1)) {
      const directory = path.slice(0, slash)
      if (made.has(directory)) continue
      made.add(directory)
      yield { kind: 'directory', path: directory }
    }
    yield { kind: 'file', path }
  }
}
