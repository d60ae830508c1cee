import pkcs11 from 'pkcs11js'
import { fromUtf8 } from '../base/bytes.ts'
import { printable } from '../base/errors.ts'
import type { Secret } from '../base/secret.ts'
import { HsmError } from './errors.ts'
import { CKM_EDDSA } from './token-curves.ts'
import { alreadyInitialised, returnValueOf, tokenError } from './token-faults.ts'
import { type InspectedToken, type PinState, sessionsMax, type TokenAddress } from './token-protocol.ts'
import { TokenSessions } from './token-sessions.ts'

/*
 * A PKCS#11 module (v2.40, with what v3.0 says of EdDSA) and its slots. The only file that loads native code, and so it runs in
 * a process of its own (`token-host.ts`): a library has one state per process, may never return, and may crash.
 */

const [pinCountLow, pinFinalTry, pinLocked] = [0x10000, 0x20000, 0x40000]
const CKF_WRITE_PROTECTED = 0x2
const CKR_TOKEN_WRITE_PROTECTED = 0xe2
const slotsMax = 64

/** Finds the token by its label and logs in, once. Throws `HsmError`. */
export function openToken(address: TokenAddress, pin: Secret, isCautious: boolean): TokenSessions {
  const library = loadModule(address)
  return attempt('opening the token', () => {
    const slot = findToken(library, address.label)
    requirePinTries(library, slot, isCautious)
    const session = openSession(library, slot)
    try {
      library.C_Login(session, pkcs11.CKU_USER, pinText(pin))
    } catch (error) {
      library.C_CloseSession(session)
      throw error
    }
    return new TokenSessions(
      { library, slot, login: session, open: () => openSession(library, slot) },
      sessionsMax,
    )
  })
}

/** Initialises a slot that holds no token yet, with both PINs. Throws `HSM_TOKEN_EXISTS` rather than overwrite. */
export function initialiseToken(address: TokenAddress, officerPin: Secret, pin: Secret): void {
  const library = loadModule(address)
  const { label } = address
  attempt('initialising the token', () => {
    if (tokensWithLabel(library, label).length > 0)
      throw new HsmError('HSM_TOKEN_EXISTS', `there is a token '${printable(label)}' already`)
    const free = slots(library).find(
      slot => (library.C_GetTokenInfo(slot).flags & pkcs11.CKF_TOKEN_INITIALIZED) === 0,
    )
    if (free === undefined) throw new HsmError('HSM_TOKEN_MISSING', 'no slot holds an uninitialised token')
    // The binding pads with NUL, the specification with blanks.
    library.C_InitToken(free, pinText(officerPin), label.padEnd(32, ' '))
    // The slot has another number from here on.
    const slot = findToken(library, label)
    const session = library.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION)
    try {
      library.C_Login(session, pkcs11.CKU_SO, pinText(officerPin))
      library.C_InitPIN(session, pinText(pin))
    } finally {
      library.C_CloseSession(session)
    }
  })
}

/** What the token says of itself to anyone: no PIN is sent. Throws `HsmError`. */
export function inspectToken(address: TokenAddress): InspectedToken {
  const library = loadModule(address)
  return attempt('looking at the token', () => {
    const slot = findToken(library, address.label)
    const { label, manufacturerID, model, serialNumber, flags } = library.C_GetTokenInfo(slot)
    const mechanisms = library.C_GetMechanismList(slot)
    return {
      label: unpadded(label),
      manufacturer: unpadded(manufacturerID),
      model: unpadded(model),
      serial: unpadded(serialNumber),
      pin: pinState(flags),
      isWriteProtected: (flags & CKF_WRITE_PROTECTED) !== 0,
      mechanisms: mechanisms.length,
      ecdh: mechanisms.includes(pkcs11.CKM_ECDH1_DERIVE),
      oaep: mechanisms.includes(pkcs11.CKM_RSA_PKCS_OAEP),
      rsa: mechanisms.includes(pkcs11.CKM_RSA_X_509),
      ed25519: mechanisms.includes(CKM_EDDSA),
      ecdsa: mechanisms.includes(pkcs11.CKM_ECDSA),
    }
  })
}

function loadModule({ modulePath, moduleParameters }: TokenAddress): pkcs11.PKCS11 {
  const library = new pkcs11.PKCS11()
  try {
    library.load(modulePath)
  } catch {
    throw new HsmError('HSM_MODULE_MISSING', `${printable(modulePath)} could not be loaded`)
  }
  try {
    library.C_Initialize({
      flags: pkcs11.CKF_OS_LOCKING_OK,
      ...(moduleParameters === null ? {} : { libraryParameters: moduleParameters }),
    })
  } catch (error) {
    if (returnValueOf(error) !== alreadyInitialised) throw tokenError('initialising the module', error)
  }
  return library
}

/** One that may write, where the token lets anyone write. */
function openSession(library: pkcs11.PKCS11, slot: Buffer): Buffer {
  try {
    return library.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION)
  } catch (error) {
    if (returnValueOf(error) !== CKR_TOKEN_WRITE_PROTECTED) throw error
    return library.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
  }
}

function findToken(library: pkcs11.PKCS11, label: string): Buffer {
  const [found, second] = tokensWithLabel(library, label)
  if (found === undefined) throw new HsmError('HSM_TOKEN_MISSING', `there is no token '${printable(label)}'`)
  if (second !== undefined)
    throw new HsmError('HSM_TOKEN_AMBIGUOUS', `there are two tokens '${printable(label)}'`)
  return found
}

/** By label alone: the number of a slot changes when tokens come and go. */
function tokensWithLabel(library: pkcs11.PKCS11, label: string): readonly Buffer[] {
  return slots(library).filter(slot => unpadded(library.C_GetTokenInfo(slot).label) === label)
}

function slots(library: pkcs11.PKCS11): readonly Buffer[] {
  return library.C_GetSlotList(true).slice(0, slotsMax)
}

function pinState(flags: number): PinState {
  if ((flags & pinLocked) !== 0) return 'locked'
  if ((flags & pinFinalTry) !== 0) return 'last-try'
  return (flags & pinCountLow) !== 0 ? 'failed-before' : 'sound'
}

/** `isCautious`: this very PIN was sent before, and how that ended is not known. */
function requirePinTries(library: pkcs11.PKCS11, slot: Buffer, isCautious: boolean): void {
  const state = pinState(library.C_GetTokenInfo(slot).flags)
  if (state === 'locked') throw new HsmError('HSM_PIN_LOCKED', 'the token says that its PIN is locked')
  if (state === 'last-try')
    throw new HsmError('HSM_PIN_LAST_TRY', 'the token says that one try of its PIN is left')
  if (state === 'failed-before' && isCautious)
    throw new HsmError('HSM_PIN_WRONG', 'the token counts a wrong PIN since this one was sent to it')
}

/** The binding takes no bytes, so here alone the PIN is a string, in a process that soon forgets it. */
function pinText(pin: Secret): string {
  return pin.expose(fromUtf8)
}

function unpadded(text: string): string {
  return printable(text.replace(/[\0 ]+$/, ''))
}

function attempt<T>(what: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw tokenError(what, error)
  }
}
