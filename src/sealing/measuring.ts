import { equalConstantTime, fromHex, utf8 } from '../base/bytes.ts'
import { readBounded, writeDurably } from '../base/files.ts'
import { fields, is, parseJson } from '../base/json.ts'
import type { Digest } from '../base/names.ts'
import { Serially } from '../base/serially.ts'
import type { MeasuringDevice } from '../tpm/public/measuring-device.ts'
import { unmeasured } from '../tpm/public/pcrs.ts'
import { type Attestation, type AttestationClaims, qualifyingData } from './attestation.ts'
import { parsingAs, SealError } from './errors.ts'
import { digestBytes, eventsMax, isEventList, type MeasuredEvent, pcrClaimsOf, replay } from './event-log.ts'
import { reportingIo } from './io.ts'

/*
 * The side of the machine that is asked: measures the store into the TPM before it is used, and answers. The log lies in a
 * directory that is empty after a start, as /run is: the PCR is zero then as well.
 */

const logBytesMax = 65_536

export interface MeasuringSettings {
  readonly storePcr: number
  /** PCRs that are quoted besides, and measured by the firmware. */
  readonly platformPcrs: readonly number[]
  readonly logFile: string
}

export interface MeasuredMachine {
  /** Before what has this digest is used. The same as the last one changes nothing. Throws `SEAL_LOG_FULL`. */
  measure(what: string, digest: Digest, signal: AbortSignal): Promise<void>
  attest(claims: Omit<AttestationClaims, 'key'>, signal: AbortSignal): Promise<Attestation>
}

/** Throws `SEAL_LOG_INVALID` when the TPM knows of measurements that the log does not, which only a restart mends. */
export async function openMeasurements(
  device: MeasuringDevice,
  { storePcr, platformPcrs, logFile }: MeasuringSettings,
  signal: AbortSignal,
): Promise<MeasuredMachine> {
  const one = new Serially()
  const log = [...(await readLog(logFile))]
  await resume(device, storePcr, log, signal)
  const pcrs = [...new Set([storePcr, ...platformPcrs])].sort((a, b) => a - b)
  let isCertain = true
  const settle = async (stop: AbortSignal) => {
    if (!isCertain) await resume(device, storePcr, log, stop)
    isCertain = true
  }
  return {
    measure: (what, digest, stop) =>
      one.run(async () => {
        await settle(stop)
        if (log.at(-1)?.digest === digest) return
        if (log.length >= eventsMax)
          throw new SealError('SEAL_LOG_FULL', `${log.length} measurements since the start`)
        const event = { pcr: storePcr, what, digest }
        // Written first: after a crash `resume` finds one event too many rather than a value that nothing explains.
        await writeLog(logFile, [...log, event])
        log.push(event)
        isCertain = false
        await device.extend(storePcr, fromHex(digest, digestBytes), stop)
        isCertain = true
      }),
    attest: (claims, stop) =>
      one.run(async () => {
        await settle(stop)
        const whole = { ...claims, key: await device.key(stop) }
        const { quote, counter } = await device.state(qualifyingData(whole), pcrs, stop)
        const values = await device.read(pcrs, stop)
        return { ...whole, pcrs: pcrClaimsOf(values), log: [...log], quote, counter }
      }),
  }
}

/** Compares the log with the TPM, and finishes what a crash left between the two. */
async function resume(
  device: MeasuringDevice,
  pcr: number,
  log: readonly MeasuredEvent[],
  signal: AbortSignal,
): Promise<void> {
  const value = (await device.read([pcr], signal)).get(pcr) ?? unmeasured
  const isAt = (events: readonly MeasuredEvent[]) =>
    equalConstantTime(replay(events).get(pcr) ?? unmeasured, value)
  if (isAt(log)) return
  const last = log.at(-1)
  if (last === undefined || !isAt(log.slice(0, -1)))
    throw new SealError(
      'SEAL_LOG_INVALID',
      `PCR ${pcr} has another value than ${log.length} logged measurements give`,
    )
  await device.extend(pcr, fromHex(last.digest, digestBytes), signal)
}

const shape = fields('log', { v: is.literal(1), type: is.literal('measurements'), log: isEventList })

function parseLog(untrustedBytes: Uint8Array): readonly MeasuredEvent[] {
  return parsingAs(
    'SEAL_LOG_INVALID',
    'the log of measurements',
    () => shape(parseJson(untrustedBytes, { bytesMax: logBytesMax, depthMax: 4 })).log,
  )
}

async function readLog(file: string): Promise<readonly MeasuredEvent[]> {
  const bytes = await reportingIo(() => readBounded(file, logBytesMax))
  return bytes === null ? [] : bytes.parse(parseLog)
}

async function writeLog(file: string, log: readonly MeasuredEvent[]): Promise<void> {
  const text = JSON.stringify({ v: 1, type: 'measurements', log })
  await reportingIo(() => writeDurably(file, utf8(`${text}\n`), 0o600))
}
