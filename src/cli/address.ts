import { isIP } from 'node:net'
import { fromUtf8 } from '../base/bytes.ts'
import { printable } from '../base/errors.ts'
import { readBounded } from '../base/files.ts'
import { Secret } from '../base/secret.ts'
import { CliError } from './errors.ts'

const tokenFileBytesMax = 200

/** Where the API listens, as node's `http.request` takes it. */
export type Address =
  | { readonly protocol: 'http:'; readonly socketPath: string }
  | { readonly protocol: 'http:' | 'https:'; readonly hostname: string; readonly port: number }

/** `unix:/path`, `http://` to this machine only, or `https://`. Throws `CLI_ADDRESS`. */
export function parseAddress(text: string): Address {
  if (text.startsWith('unix:/')) return { protocol: 'http:', socketPath: text.slice('unix:'.length) }
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:'))
    throw new CliError('CLI_ADDRESS', `'${printable(text)}' is no address of the API`)
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '' || url.username !== '')
    throw new CliError('CLI_ADDRESS', `'${printable(text)}' has more than a host and a port`)
  const hostname = url.hostname.replace(/^\[|\]$/g, '')
  if (url.protocol === 'http:' && !isLoopback(hostname))
    throw new CliError('CLI_ADDRESS', `plain http to '${hostname}' would show the token to the network`)
  const port = Number(url.port || (url.protocol === 'http:' ? 80 : 443))
  return { protocol: url.protocol, hostname, port }
}

function isLoopback(hostname: string): boolean {
  return (
    hostname === 'localhost' || hostname === '::1' || (isIP(hostname) === 4 && hostname.startsWith('127.'))
  )
}

/** Throws `CLI_TOKEN_FILE`. */
export async function readToken(file: string): Promise<Secret> {
  const content = await readBounded(file, tokenFileBytesMax).catch(cause => {
    throw new CliError('CLI_TOKEN_FILE', `the token file ${printable(file)} does not read`, { cause })
  })
  if (content === null) throw new CliError('CLI_TOKEN_FILE', `there is no token file ${printable(file)}`)
  return content.parse(untrustedBytes => {
    const end = untrustedBytes.indexOf(0x0a)
    const token = untrustedBytes.slice(0, end < 0 ? undefined : end)
    untrustedBytes.fill(0)
    // Nothing else may leave as a token: the file may be in a VM's directory, and a link to another VM's secret.
    if (!/^[0-9a-f]{64}$/.test(safeText(token)))
      throw new CliError('CLI_TOKEN_FILE', `${printable(file)} does not hold a token`)
    return Secret.take(token)
  })
}

function safeText(bytes: Uint8Array): string {
  try {
    return fromUtf8(bytes)
  } catch {
    return ''
  }
}
