import { CodedError } from '../base/errors.ts'
import type { SlotSet } from '../base/slots.ts'
import type { PacksSummary } from './packs-root.ts'

/** One thing that is wrong. `object` is its kind and id, when it is about one. */
export interface CheckError {
  readonly code: string
  readonly message: string
  readonly object?: string
}

export interface CheckReport {
  /** Nothing is missing and nothing is wrong. */
  readonly sound: boolean
  /** The first `errorsMax`; missing objects are in the lists below and not among them. */
  readonly errors: readonly CheckError[]
  readonly errorCount: number
  /** Ids of objects that the ledger, or an index that it names, expects and the storage does not have. */
  readonly missingPinned: readonly string[]
  readonly missingSnapshots: readonly string[]
  readonly missingIndex: readonly string[]
  readonly missingPacks: readonly string[]
  /** How many objects were expected. */
  readonly objects: number
  /** Objects that the storage lists and nobody expects: left-overs of stopped backups, or planted. Not looked at. */
  readonly ignored: number
  readonly blobs: number
  readonly proven: ProvenData
}

/** The packs that were read from the first byte to the last, and are right. */
export interface ProvenData {
  /** Slots all of whose packs are among them. None if an index is missing or wrong: nobody knows then what there should be. */
  readonly slots: SlotSet
  /** The packs in these slots. */
  readonly packs: PacksSummary
}

export const errorsMax = 1000

type Missing = 'missingPinned' | 'missingSnapshots' | 'missingIndex' | 'missingPacks'

/** Collects what a check finds. */
export class CheckFindings {
  readonly #errors: CheckError[] = []
  readonly #missing: Record<Missing, string[]> = {
    missingPinned: [],
    missingSnapshots: [],
    missingIndex: [],
    missingPacks: [],
  }
  #errorCount = 0

  get count(): number {
    return this.#errorCount + Object.values(this.#missing).reduce((sum, ids) => sum + ids.length, 0)
  }

  add(code: string, message: string, object?: string): void {
    this.#errorCount += 1
    if (this.#errors.length < errorsMax)
      this.#errors.push(object === undefined ? { code, message } : { code, message, object })
  }

  /**
   * Runs one step of a check. What it throws is a finding when it says something about the repository; a storage that
   * cannot be reached or an abort says nothing, and ends the check. `object.missing` is the list for the case that
   * the object itself is missing; `null` where something else that it needs may be.
   */
  async step(
    object: { readonly name: string; readonly id: string; readonly missing: Missing | null },
    work: () => Promise<void>,
  ): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (!(error instanceof CodedError)) throw error
      if (error.kind === 'missing' && object.missing !== null) this.#missing[object.missing].push(object.id)
      else if (aboutRepository(error)) this.add(error.code, error.message, object.name)
      else throw error
    }
  }

  report(counts: Pick<CheckReport, 'objects' | 'ignored' | 'blobs' | 'proven'>): CheckReport {
    return {
      sound: this.count === 0,
      errors: this.#errors,
      errorCount: this.#errorCount,
      ...this.#missing,
      ...counts,
    }
  }
}

/** A range outside of an object is an object shorter than its index says. */
function aboutRepository({ kind, code }: CodedError): boolean {
  return kind === 'integrity' || kind === 'missing' || code === 'STORAGE_RANGE'
}
