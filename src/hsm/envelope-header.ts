import type { Untrusted } from '../base/untrusted.ts'
import { sshRsaType } from './ssh-rsa.ts'
import { taggedType } from './tagged-stanza.ts'

/** For how many tokens and recovery keys an envelope is. Which ones it does not say. */
export interface RecipientCounts {
  readonly tokens: number
  readonly recoveryKeys: number
}

/** By the stanzas of its header; of what is no age file, none. Says nothing about whether it is sound. */
export function countRecipients(envelope: Untrusted<Uint8Array>): RecipientCounts {
  return envelope.parse(untrustedBytes => {
    const [untrustedHeader = ''] = Buffer.from(untrustedBytes).toString('latin1').split('\n---')
    const count = (...types: readonly string[]) =>
      untrustedHeader.split('\n').filter(line => types.some(type => line.startsWith(`-> ${type} `))).length
    return { tokens: count(taggedType, sshRsaType), recoveryKeys: count('X25519') }
  })
}
