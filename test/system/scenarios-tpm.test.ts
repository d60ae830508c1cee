import { attestedRelease } from './scenarios/attested-release.ts'
import { oldDiskRestored } from './scenarios/old-disk-restored.ts'
import { tell } from './scenarios/tell.ts'
import { witnessDisagrees } from './scenarios/witness-disagrees.ts'

/** Of a machine with a TPM, and of its ledger. */
tell({ attestedRelease, oldDiskRestored, witnessDisagrees })
