/* TPM 2.0 Library part 2, sections 6 to 8: the few of its constants that are used here. */

export const algorithm = {
  rsa: 0x0001,
  aes: 0x0006,
  keyedHash: 0x0008,
  sha256: 0x000b,
  none: 0x0010,
  ecdsa: 0x0018,
  ecc: 0x0023,
  cfb: 0x0043,
} as const

export const curveP256 = 0x0003

export const hierarchy = { owner: 0x40000001, none: 0x40000007, endorsement: 0x4000000b } as const

/** TPMA_OBJECT. */
export const attribute = {
  fixedTpm: 0x2,
  fixedParent: 0x10,
  sensitiveDataOrigin: 0x20,
  userWithAuth: 0x40,
  adminWithPolicy: 0x80,
  noDictionaryAttack: 0x400,
  restricted: 0x10000,
  decrypt: 0x20000,
  sign: 0x40000,
} as const

/** What every structure begins with that a TPM made and signed; it signs nothing else that does. */
export const generatedByTpm = 0xff544347

export const attestType = { nv: 0x8014, quote: 0x8018 } as const

/** Bytes of the largest of each; a TPM of 2026 knows no hash longer than SHA-512. */
export const limits = { digest: 64, name: 66, data: 66 } as const
