import { systemClock } from '../../../src/base/environment.ts'
import { discardCommand } from '../../../src/sealing/ceremony/discard.ts'
import { plainEntropy } from './plain-entropy.ts'

/* In a process of its own, which then waits, so that its memory can be searched: `discard-and-wait.ts DIRECTORY [keep]`. */

const [directory = '', mode] = process.argv.slice(2)
const entropy = plainEntropy()
/** What a search must find, to be worth something. */
const kept: Uint8Array[] = []
await discardCommand(
  {
    directory,
    clock: systemClock,
    entropy: {
      bytes: length => {
        const bytes = entropy.bytes(length)
        if (mode === 'keep') kept.push(bytes.slice())
        return bytes
      },
    },
    keep: [],
    withOwner: true,
  },
  new AbortController().signal,
)
// What the collector would take at any time: a handle of OpenSSL's, of the kind that made the public key.
for (let round = 0; round < 3; round++) {
  globalThis.gc?.()
  await new Promise(resolve => setTimeout(resolve, 20))
}
process.stdout.write('waiting\n')
process.stdin.resume()
process.stdin.once('end', () => process.exit(kept.length > 1000 ? 1 : 0))
