import { CodedError, type ErrorCatalogue, errorClass } from '../base/errors.ts'

export const sealingErrors = {
  SEAL_TOO_LARGE: {
    kind: 'integrity',
    meaning: 'A sealed file, or something in it, is larger than is ever read.',
    hint: 'it was not made by this product; look at who delivered it',
  },
  SEAL_ENVELOPE_MALFORMED: {
    kind: 'integrity',
    meaning: 'A sealed file is not an envelope in the one accepted form.',
    hint: 'the file was damaged or edited; take it from another copy',
  },
  SEAL_SIGNATURE_INVALID: {
    kind: 'integrity',
    meaning: 'A signature does not fit the bytes it stands beside: the file was changed after signing.',
    hint: 'take the file from another copy; find out who changed this one',
  },
  SEAL_KEY_UNKNOWN: {
    kind: 'integrity',
    meaning: 'A signature is by a key that the root does not give this role.',
    hint: 'sign with a key of the role; the root says which these are',
  },
  SEAL_SIGNED_TWICE: {
    kind: 'integrity',
    meaning: 'One envelope carries two signatures of the same key.',
    hint: 'a threshold counts different keys; let another holder sign',
  },
  SEAL_THRESHOLD: {
    kind: 'integrity',
    meaning: 'Fewer different keys signed than the root demands for this role.',
    hint: 'collect the missing signatures and deliver the update again',
  },
  SEAL_TYPE_WRONG: {
    kind: 'integrity',
    meaning: 'A properly signed envelope stands where one of another payload type belongs.',
    hint: 'the files were swapped; take the store from another copy',
  },
  SEAL_PAYLOAD_INVALID: {
    kind: 'integrity',
    meaning: 'A properly signed payload does not follow its format.',
    hint: 'it was signed by another version of this product, or by something else',
  },
  SEAL_KEY_INVALID: {
    kind: 'integrity',
    meaning: 'A public key of the root has the wrong length or encoding.',
    hint: 'make the root again with keys of the types in the reference page',
  },
  SEAL_KEY_ID_WRONG: {
    kind: 'integrity',
    meaning: 'A key of the root is listed under an id that is not its SHA-256.',
    hint: 'whoever made this root tried to count one key twice, or made a mistake; make it again',
  },
  SEAL_KEY_SHARED: {
    kind: 'integrity',
    meaning: 'A key serves both a role that must stand alone and another role.',
    hint: 'give root and schedules keys of their own',
  },
  SEAL_ROOT_INVALID: {
    kind: 'integrity',
    meaning: 'The root contradicts itself: unknown keys, an impossible threshold, or overlapping roles.',
    hint: 'correct its holders and thresholds, and make it again',
  },
  SEAL_ROOT_UNPINNED: {
    kind: 'integrity',
    meaning: 'The first root is not the one that was pinned on this machine.',
    hint: 'this store belongs to another machine or organisation; never change the pin to make it fit',
  },
  SEAL_ROOT_CHAIN: {
    kind: 'integrity',
    meaning: 'The roots do not follow one another without a gap, each naming the one before.',
    hint: 'deliver every root between the pinned one and the present one',
  },
  SEAL_PATH_REFUSED: {
    kind: 'integrity',
    meaning: 'A sealed path is malformed, or outside what its role may hold.',
    hint: 'the root limits each role to its folder; see the reference page',
  },
  SEAL_MIXED: {
    kind: 'integrity',
    meaning: 'A role is not of the version that the snapshot names: files of different versions were mixed.',
    hint: 'deliver the whole update again',
  },
  SEAL_ROLLBACK: {
    kind: 'integrity',
    meaning: 'The store or an update is older than one that was already in force here.',
    hint: 'somebody put back an old copy; deliver the newest one',
  },
  SEAL_FORKED: {
    kind: 'integrity',
    meaning: 'The same version exists with two different contents.',
    hint: 'a signing key was used twice for one version; ask its holders, and compare the digests',
  },
  SEAL_SKIPPED: {
    kind: 'conflict',
    meaning: 'An update is more than one version ahead of the store.',
    hint: 'deliver the updates in between first',
  },
  SEAL_PREVIOUS_WRONG: {
    kind: 'integrity',
    meaning: 'A new version does not name the installed one as the version before it.',
    hint: 'it was made from another copy of the store; make it again from this one',
  },
  SEAL_INSTALLED: {
    kind: 'conflict',
    meaning: 'This update is in force already.',
    hint: 'nothing needs to be done',
  },
  SEAL_EXPIRED: {
    kind: 'refused',
    meaning: 'An update had expired before it arrived. The installed store stays in force.',
    hint: 'sign it again with a later expiry, and check the clock of this machine',
  },
  SEAL_UPDATE_MALFORMED: {
    kind: 'usage',
    meaning: 'An update or a proposal is not a list of named envelopes.',
    hint: 'name the file as it was made, unchanged: updates/N.update or whole.update; review, sign and merge take N.proposal',
  },
  SEAL_FILE_MISSING: {
    kind: 'integrity',
    meaning: 'A file of the sealed store is not there.',
    hint: 'take the store from another copy',
  },
  SEAL_FILE_UNEXPECTED: {
    kind: 'integrity',
    meaning: 'The sealed store holds something that no root and no snapshot names.',
    hint: 'find out who put it there, and remove it',
  },
  SEAL_EMPTY: {
    kind: 'missing',
    meaning: 'Nothing has been sealed here yet.',
    hint: 'run `strongroom seal sign`, or install the first update',
  },
  SEAL_EXISTS: {
    kind: 'conflict',
    meaning: 'There is a sealed store here already.',
    hint: 'choose another directory',
  },
  SEAL_CHANGED: {
    kind: 'integrity',
    meaning: 'The files of the store are no longer those that were verified.',
    hint: 'somebody replaced them while the service ran; compare with another copy before a restart',
  },
  SEAL_PIN_INVALID: {
    kind: 'integrity',
    meaning: 'The file that pins the first root is missing or malformed.',
    hint: 'copy the pin from where this machine was provisioned',
  },
  SEAL_FLOOR_INVALID: {
    kind: 'integrity',
    meaning: 'The file that remembers the newest version seen is malformed.',
    hint: 'find out who changed it; compare the version of this store with another machine before removing it',
  },
  SEAL_COUNTER_PASSED: {
    kind: 'integrity',
    meaning: 'The counter outside the disk has passed the version on disk: an older disk was put back.',
    hint: 'install the updates since; if a disk was restored from a backup on purpose, `strongroom dom0 anchor` begins anew',
  },
  SEAL_COUNTER_LOST: {
    kind: 'integrity',
    meaning:
      'The counter outside the disk is behind: its TPM was cleared or replaced, or the disk is in another machine.',
    hint: 'find out which; if it was meant, `strongroom dom0 anchor` begins anew',
  },
  SEAL_COUNTER_UNANCHORED: {
    kind: 'integrity',
    meaning: 'A counter is to be used, and the store does not know where it began.',
    hint: 'on a new machine: `strongroom dom0 anchor`; on one that ran before, somebody removed it',
  },
  SEAL_MACHINE_CHANGED: {
    kind: 'integrity',
    meaning: 'A machine is not the one that was enrolled under this name.',
    hint: 'after a wanted change of its TPM remove the pin and enrol it anew, in its presence; else it is an attack',
  },
  SEAL_MACHINE_INVALID: {
    kind: 'integrity',
    meaning: 'The file that pins a machine is malformed.',
    hint: 'find out who changed it; enrol the machine anew in its presence',
  },
  SEAL_ATTESTATION_INVALID: {
    kind: 'integrity',
    meaning: 'What a machine says of itself does not follow its format.',
    hint: 'it was made by another version of this product, or changed on its way',
  },
  SEAL_ENROLMENT_WRONG: {
    kind: 'integrity',
    meaning: 'The TPM of a machine did not answer the challenge, or its key is not fit to attest.',
    hint: 'its two keys are not of one TPM; enrol only a machine that you see before you',
  },
  SEAL_LOG_INVALID: {
    kind: 'integrity',
    meaning: 'The log of measurements is malformed, or does not give the value in the TPM.',
    hint: 'another program measured into the same PCR, or the log was lost: restart the machine, or choose another PCR',
  },
  SEAL_LOG_FULL: {
    kind: 'full',
    meaning: 'So many stores were measured since the start that no more can be told.',
    hint: 'restart the machine',
  },
  SEAL_IO: {
    kind: 'failed',
    meaning: 'A file could not be read or written.',
    hint: 'look at the named path, its permissions and the free space',
  },
  SEAL_KEY_FILE_INVALID: {
    kind: 'key',
    meaning: 'A key file does not hold an Ed25519 private key in PKCS#8 PEM.',
    hint: 'name the right file',
  },
  SEAL_KEY_FILE_OPEN: {
    kind: 'refused',
    meaning: 'A key file can be read by other users.',
    hint: 'chmod 600 the file, and consider its key exposed',
  },
  SEAL_KEY_PASSPHRASE_WRONG: {
    kind: 'key',
    meaning: 'The passphrase does not open the key file.',
    hint: 'enter the passphrase of this key file',
  },
  SEAL_SIGNERS_SHORT: {
    kind: 'key',
    meaning: 'Too few keys are at hand to sign for a role.',
    hint: 'bring the keys of the named role, or pass a proposal around: `strongroom seal propose`',
  },
  SEAL_KEY_NOT_HELD: {
    kind: 'missing',
    meaning: 'No role of the root has the named key, or too few of its digits were given.',
    hint: 'see `strongroom seal status`: it lists the keys of every role',
  },
  SEAL_DISCARDED: {
    kind: 'conflict',
    meaning: 'The sealing keys were discarded: nobody can change this store.',
    hint: 'the holder of the owner key can take a machine out of the sealed state: `strongroom seal unseal`',
  },
  SEAL_UNSEAL_REFUSED: {
    kind: 'refused',
    meaning:
      'A statement that unseals a machine is not by its owner key, or is about another machine’s root.',
    hint: 'make it with the owner key of this root: `strongroom seal unseal`',
  },
  SEAL_PROPOSAL_MISSING: {
    kind: 'missing',
    meaning: 'The named proposal is not there.',
    hint: 'make one with `strongroom seal propose`, or name the file that you were given',
  },
  SEAL_NOTHING_TO_SIGN: {
    kind: 'key',
    meaning: 'None of the keys at hand is asked for, or all of them have signed already.',
    hint: 'see `strongroom seal review`: it names the keys that are asked for; give yours with --key or --token',
  },
  SEAL_PROPOSALS_DIFFER: {
    kind: 'conflict',
    meaning: 'Two files that were to be merged are not of the same proposal.',
    hint: 'show both with `strongroom seal review`; merge those with the same digest',
  },
  SEAL_DRAFT_INVALID: {
    kind: 'usage',
    meaning: 'The draft holds something that cannot be sealed.',
    hint: 'correct or remove the named file',
  },
  SEAL_UNCHANGED: {
    kind: 'conflict',
    meaning: 'The draft is the same as what is sealed.',
    hint: 'change the draft, or renew the expiry with --renew',
  },
  SEAL_DECLINED: {
    kind: 'cancelled',
    meaning: 'The person who was shown the difference did not say yes. Nothing was signed.',
    hint: 'correct the draft and sign again',
  },
  SEAL_IMAGE_REFUSED: {
    kind: 'usage',
    meaning:
      'Something that is not put into an image: a device, socket or pipe, a link that leads out, an odd name.',
    hint: 'remove the named file from the source, or copy what is wanted to a directory of its own',
  },
  SEAL_IMAGE_TOOL: {
    kind: 'failed',
    meaning: 'mkfs.erofs is missing or failed.',
    hint: 'install erofs-utils; look at the free space',
  },
  SEAL_IMAGE_KEY_INVALID: {
    kind: 'key',
    meaning: 'A key file does not hold the private key of the certificate.',
    hint: 'name the key and the certificate that belong together',
  },
  SEAL_IMAGE_INCOMPLETE: {
    kind: 'missing',
    meaning: 'An image lacks its signature or another of its files.',
    hint: 'take all files of the image; an unsigned one is verified with --root-hash',
  },
  SEAL_IMAGE_NO_FILE_SYSTEM: {
    kind: 'integrity',
    meaning:
      'The root hash fits, and there is no file system: a piece of the hash tree lies in the place of the image.',
    hint: 'take the image from another copy, and find out who changed this one',
  },
} as const satisfies ErrorCatalogue

export class SealError extends errorClass(sealingErrors) {}

/** Gives whatever `parse` refuses the code of the thing that it reads, which `what` names. */
export function parsingAs<T>(code: keyof typeof sealingErrors, what: string, parse: () => T): T {
  try {
    return parse()
  } catch (cause) {
    if (!(cause instanceof CodedError)) throw cause
    throw new SealError(code, `${what}: ${cause.message}`, { cause })
  }
}
