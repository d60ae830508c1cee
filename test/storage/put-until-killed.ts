/* Run as a process of its own: stores objects, prints the name of each that was acknowledged, until it is killed. */
import { systemEnvironment } from '../../src/base/environment.ts'
import { LocalStore } from '../../src/storage/local.ts'
import { numberedObject } from './numbered-object.ts'

const store = new LocalStore(process.argv[2] ?? '', systemEnvironment)
const signal = new AbortController().signal
for (let number = 0; ; number += 4)
  await Promise.all(
    [0, 1, 2, 3].map(async offset => {
      const { name, body } = numberedObject(number + offset)
      await store.put(name, body, signal)
      process.stdout.write(`${name}\n`)
    }),
  )
