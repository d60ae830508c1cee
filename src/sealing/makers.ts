import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { printable } from '../base/errors.ts'
import { SealError } from './errors.ts'
import { namesIn, reportingIo } from './io.ts'

/** Certificates of makers of TPMs, one PEM file each; none when there is no such directory. Throws `SEAL_MACHINE_INVALID`. */
export async function makerCertificates(directory: string): Promise<readonly X509Certificate[]> {
  const certificates: X509Certificate[] = []
  for (const name of await namesIn(directory)) {
    if (!name.endsWith('.pem')) continue
    const pem = await reportingIo(() => readFile(path.join(directory, name)))
    try {
      certificates.push(new X509Certificate(pem))
    } catch (cause) {
      throw new SealError('SEAL_MACHINE_INVALID', `${printable(name)} is no certificate in PEM`, { cause })
    }
  }
  return certificates
}
