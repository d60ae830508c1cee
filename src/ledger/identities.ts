import { toHex } from '../base/bytes.ts'
import { sha256 } from '../crypto/digest.ts'
import { type VerifierKey, verifierKey } from './note.ts'

/*
 * The names under which a ledger and its witnesses sign. A ledger's name is made of dom0's public key, so that no two
 * machines have the same.
 */

const originDigits = 16

export interface LedgerKeys {
  /** Raw Ed25519 public keys, 32 bytes, as the sealed roles give them. */
  readonly dom0: Uint8Array
  readonly hsm: Uint8Array
}

export function ledgerOrigin(dom0Key: Uint8Array): string {
  return `strongroom/${toHex(sha256(dom0Key)).slice(0, originDigits)}`
}

export function witnessName(role: 'hsm' | 'management'): string {
  return `strongroom/witness/${role}`
}

export function ledgerKey({ dom0 }: Pick<LedgerKeys, 'dom0'>): VerifierKey {
  return verifierKey(ledgerOrigin(dom0), 'ed25519', dom0)
}

export function hsmWitnessKey({ hsm }: Pick<LedgerKeys, 'hsm'>): VerifierKey {
  return verifierKey(witnessName('hsm'), 'cosignature/v1', hsm)
}

/** `null` when the sealed roles name no key of the management VM. */
export function managementWitnessKey({
  management,
}: {
  readonly management: Uint8Array | null
}): VerifierKey | null {
  return management === null ? null : verifierKey(witnessName('management'), 'cosignature/v1', management)
}
