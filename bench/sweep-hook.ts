import { registerHooks } from 'node:module'

/*
 * Puts other constants into `src/repository/format.ts` while it is loaded, in every thread: `?packMiB=8` behind this file's URL. For
 * `bench/sweep.ts` only.
 */

const wanted = new URL(import.meta.url).searchParams
const chunkKiB = wanted.get('chunkKiB')
const packMiB = wanted.get('packMiB')
const level = wanted.get('level')

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context)
    if (!url.endsWith('/src/repository/format.ts')) return loaded
    let source = Buffer.from(loaded.source as Uint8Array).toString()
    const put = (before: string, after: string) => {
      if (!source.includes(before)) throw new Error(`format.ts has no '${before}' any more`)
      source = source.replace(before, after)
    }
    if (chunkKiB !== null)
      put('if (volumeBytes <= 128 * GiB) return 256 * KiB', `if (volumeBytes >= 0) return ${chunkKiB} * KiB`)
    if (packMiB !== null) put('packBytesFull = 16 * MiB', `packBytesFull = ${packMiB} * MiB`)
    if (level !== null) put('compressionLevel = 1', `compressionLevel = ${level}`)
    return { ...loaded, source }
  },
})
