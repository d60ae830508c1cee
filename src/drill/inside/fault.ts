import type { Finding } from '../findings.ts'

/** A level that does not pass, on its way out of what found that. */
export class Fault extends Error {
  readonly finding: Finding

  constructor(finding: Finding['finding'], place: Partial<Omit<Finding, 'finding'>> = {}) {
    super(finding)
    this.finding = { finding, volume: null, partition: null, number: null, ...place }
  }
}
