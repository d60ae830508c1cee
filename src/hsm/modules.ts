import { existsSync } from 'node:fs'

const softHsmModules = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
]

/** Where Debian has SoftHSM: the PKCS#11 module that is used unless another is named. */
export function softHsmModule(): string {
  return softHsmModules.find(existsSync) ?? 'libsofthsm2.so'
}
