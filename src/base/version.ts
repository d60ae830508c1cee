import { readFileSync } from 'node:fs'
import path from 'node:path'

const packageFile = path.join(import.meta.dirname, '../../package.json')

/** Of the product. */
export function productVersion(): string {
  const { version } = JSON.parse(readFileSync(packageFile, 'utf8')) as { readonly version: string }
  return version
}
