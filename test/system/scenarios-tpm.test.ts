import { attestedRelease } from './scenarios/attested-release.ts'
import { oldDiskRestored } from './scenarios/old-disk-restored.ts'
import { tell } from './scenarios/tell.ts'

/** Of a machine with a TPM. */
tell({ attestedRelease, oldDiskRestored })
