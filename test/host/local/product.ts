import { realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Product } from '../../../src/host/local/bubblewrap.ts'

const directory = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '')

/** The working copy that the tests run in. */
export const product: Product = {
  directory,
  node: realpathSync(`${directory}/node_modules/.bin/node`),
}
