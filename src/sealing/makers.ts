import { X509Certificate } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { errnoOf, printable } from '../base/errors.ts'
import { SealError } from './errors.ts'
import { reportingIo } from './io.ts'

/** Certificates of makers of TPMs, one PEM file each; none when there is no such directory. Throws `SEAL_MACHINE_INVALID`. */
export async function makerCertificates(directory: string): Promise<readonly X509Certificate[]> {
  const names = await reportingIo(() => readdir(directory)).catch(error => {
    if (error instanceof SealError && errnoOf(error.cause) === 'ENOENT') return []
    throw error
  })
  const certificates: X509Certificate[] = []
  for (const name of names.filter(one => one.endsWith('.pem')).sort()) {
    const pem = await reportingIo(() => readFile(path.join(directory, name)))
    try {
      certificates.push(new X509Certificate(pem))
    } catch (cause) {
      throw new SealError('SEAL_MACHINE_INVALID', `${printable(name)} is no certificate in PEM`, { cause })
    }
  }
  return certificates
}
