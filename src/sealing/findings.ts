/* What can be wrong, or worth knowing, about an attestation: each with one code and words for the one who must decide. */

export interface FindingRow {
  /** `refused`: nothing may be released to this machine. `noted`: to be shown and recorded. */
  readonly severity: 'refused' | 'noted'
  readonly meaning: string
  readonly hint: string
}

export const attestationFindings = {
  ATTEST_REPLAYED: {
    severity: 'refused',
    meaning:
      'The answer belongs to another question: an old one was sent again, or what it claims was changed.',
    hint: 'somebody between the two machines answers for it, or changes what it says',
  },
  ATTEST_OTHER_MACHINE: {
    severity: 'refused',
    meaning: 'Another machine answered than the one that was enrolled.',
    hint: 'after a change of its main board or its TPM the machine must be enrolled anew by a person; else it is an attack',
  },
  ATTEST_FORGED: {
    severity: 'refused',
    meaning: 'The quote was not signed by the TPM of the enrolled machine, or is no quote.',
    hint: 'it was changed on its way, or made by a program',
  },
  ATTEST_PCRS_WRONG: {
    severity: 'refused',
    meaning:
      'The quote is about other PCRs than were agreed, or their values are not those that are claimed.',
    hint: 'the software of the machine may be of another version; else it hides what it measured',
  },
  ATTEST_UNMEASURED: {
    severity: 'refused',
    meaning: 'Nothing was measured: the PCR is all zeros or all ones.',
    hint: 'look why the measured start fell back; such a machine proves nothing',
  },
  ATTEST_LOG_WRONG: {
    severity: 'refused',
    meaning: 'The log of measurements does not give the value that the TPM signed.',
    hint: 'something was measured that the log does not tell',
  },
  ATTEST_LOG_FOREIGN: {
    severity: 'refused',
    meaning: 'Since the machine was started something was measured that never was a store in force.',
    hint: 'a changed store was in use before the present one; restart the machine and find out where it came from',
  },
  ATTEST_STORE_TAMPERED: {
    severity: 'refused',
    meaning: 'The machine measured a sealed store that nobody here knows.',
    hint: 'its store was changed; compare it with another copy',
  },
  ATTEST_STORE_OLD: {
    severity: 'refused',
    meaning: 'The machine uses a sealed store that was replaced by a newer one.',
    hint: 'an update did not arrive, or an old disk was put back; deliver the newest store',
  },
  ATTEST_STORE_NEWER: {
    severity: 'refused',
    meaning: 'The machine uses a newer sealed store than is known here.',
    hint: 'deliver the same update here',
  },
  ATTEST_PLATFORM_CHANGED: {
    severity: 'refused',
    meaning: 'Firmware or boot loader were measured differently from when the machine was enrolled.',
    hint: 'after an update that was wanted, enrol anew; else somebody changed what starts this machine',
  },
  ATTEST_TPM_WENT_BACK: {
    severity: 'refused',
    meaning: 'The TPM counts fewer starts, or less time, than it told before.',
    hint: 'it was cleared, or the state of a software TPM was copied back',
  },
  ATTEST_COUNTER_WRONG: {
    severity: 'refused',
    meaning: 'The counter is not certified, or is not the one that was enrolled.',
    hint: 'somebody removed it or put other memory in its place; anchor a new one only after looking at the machine',
  },
  ATTEST_STORE_BEHIND_COUNTER: {
    severity: 'refused',
    meaning: 'The counter of the TPM knows a newer store than the machine uses: an old disk was put back.',
    hint: 'deliver the newest store; after a restore of the disk that was wanted as well',
  },
  ATTEST_COUNTER_BEHIND: {
    severity: 'refused',
    meaning: 'The store is more than one version ahead of the counter.',
    hint: 'the TPM was cleared or exchanged, or updates went past the counter; anchor it anew after looking at the machine',
  },
  ATTEST_COUNTER_UNFINISHED: {
    severity: 'noted',
    meaning: 'The store is one version ahead of the counter, as a crash during an update leaves it.',
    hint: 'it counts when it starts again; if it stays so, look into its log',
  },
  ATTEST_LEDGER_BEHIND: {
    severity: 'refused',
    meaning: 'The ledger of the machine is shorter than it was.',
    hint: 'an old disk was put back; compare with the copies of the witnesses',
  },
  ATTEST_FIRMWARE_CHANGED: {
    severity: 'noted',
    meaning: 'The firmware of the TPM is another one than when the machine was enrolled.',
    hint: 'expected after an update of it',
  },
  ATTEST_SOFTWARE_TPM: {
    severity: 'noted',
    meaning: 'The TPM is software: whoever owns the machine below it can make it say anything.',
    hint: 'good for trying it out; protect nothing with it',
  },
  ATTEST_HARDWARE_UNPROVEN: {
    severity: 'noted',
    meaning: 'No certificate of a TPM maker was verified: it may be software.',
    hint: 'enrol with the certificates of the maker to prove it',
  },
} as const satisfies Readonly<Record<string, FindingRow>>

export type FindingCode = keyof typeof attestationFindings

export interface Finding {
  readonly code: FindingCode
  readonly severity: FindingRow['severity']
  /** What was found, for people; the meaning and the hint are in the catalogue. */
  readonly words: string
}

export function finding(code: FindingCode, found: string, severity?: FindingRow['severity']): Finding {
  const row = attestationFindings[code]
  return { code, severity: severity ?? row.severity, words: `${row.meaning} ${found}` }
}
