import pkcs11 from 'pkcs11js'
import { fromUtf8, view } from '../base/bytes.ts'
import { printable } from '../base/errors.ts'
import { Secret } from '../base/secret.ts'
import { sha256 } from '../crypto/digest.ts'
import { ed25519PublicKeyLength, ed25519SignatureLength } from '../crypto/signature.ts'
import { HsmError } from './errors.ts'
import { pointLength } from './recipients.ts'
import { alreadyInitialised, returnValueOf, tokenError } from './token-faults.ts'
import type {
  CounterChange,
  TokenAddress,
  TokenDescription,
  TokenPublicKeys,
  TokenSealKey,
} from './token-protocol.ts'

/*
 * One PKCS#11 token (v2.40 with the EdDSA mechanisms of v3.0). The only file that loads the native module. All calls are
 * synchronous and may never return, so this runs in a process of its own (`token-host.ts`).
 *
 * A library has one state per process: one token is open at a time, with one session, which keeps the login.
 */

/** The key to which passphrase envelopes are encrypted; does nothing but ECDH. */
const wrappingKeyLabel = 'strongroom-wrapping'
/** The key by which the HSM VM witnesses the ledger; signs nothing else. */
const witnessKeyLabel = 'strongroom-witness'

/** The key by which its holder seals; signs nothing else. */
const sealKeyLabel = 'strongroom-seal'
/** Counts the versions of the sealed store. */
const counterLabel = 'strongroom-counter'
const counterLength = 8

/** PKCS#11 v3.0; not among the constants of pkcs11js. */
const CKM_EC_EDWARDS_KEY_PAIR_GEN = 0x1055
const CKM_EDDSA = 0x1057
const CKK_EC_EDWARDS = 0x40
const CKD_NULL = 1

const userPinFinalTry = 0x20000
const userPinLocked = 0x40000

/** DER of the object identifier of P-256, and of the printable string that PKCS#11 v3.0 gives for Ed25519. */
const p256Parameters = Buffer.from('06082a8648ce3d030107', 'hex')
const ed25519Parameters = Buffer.concat([Buffer.of(0x13, 12), Buffer.from('edwards25519', 'latin1')])
const sharedSecretLength = 32
const slotsMax = 64

export class Token implements Disposable {
  readonly #library: pkcs11.PKCS11
  readonly #slot: Buffer
  readonly #session: Buffer

  private constructor(library: pkcs11.PKCS11, slot: Buffer, session: Buffer) {
    this.#library = library
    this.#slot = slot
    this.#session = session
  }

  /** Finds the token by its label and logs in, once. Throws `HsmError`. */
  static open({ modulePath, label }: TokenAddress, pin: Secret): Token {
    const library = loadModule(modulePath)
    return attempt('opening the token', () => {
      const slot = findToken(library, label)
      requirePinTries(library.C_GetTokenInfo(slot).flags)
      const session = library.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION)
      try {
        library.C_Login(session, pkcs11.CKU_USER, pinText(pin))
      } catch (error) {
        library.C_CloseSession(session)
        throw error
      }
      return new Token(library, slot, session)
    })
  }

  /** Initialises a slot that holds no token yet, with both PINs. Throws `HSM_TOKEN_EXISTS` rather than overwrite. */
  static initialise({ modulePath, label }: TokenAddress, officerPin: Secret, pin: Secret): void {
    const library = loadModule(modulePath)
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

  /** Makes the two keys where they are missing: inside the token, sensitive, and never to leave it. */
  generateKeys(): TokenPublicKeys {
    return this.#guarded('generating the keys', () => {
      if (this.#find(pkcs11.CKO_PRIVATE_KEY, wrappingKeyLabel) === null)
        this.#generate(wrappingKeyLabel, pkcs11.CKM_EC_KEY_PAIR_GEN, p256Parameters, pkcs11.CKA_DERIVE)
      if (this.#find(pkcs11.CKO_PRIVATE_KEY, witnessKeyLabel) === null && this.#can(CKM_EDDSA))
        this.#generate(witnessKeyLabel, CKM_EC_EDWARDS_KEY_PAIR_GEN, ed25519Parameters, pkcs11.CKA_SIGN)
      return this.#publicKeys()
    })
  }

  publicKeys(): TokenPublicKeys {
    return this.#guarded('reading the public keys', () => this.#publicKeys())
  }

  /** ECDH with the wrapping key: the x coordinate of the shared point. `peerPoint` is `04 || x || y`. */
  agree(peerPoint: Uint8Array): Secret {
    return this.#guarded('the key agreement', () => {
      const parameter: pkcs11.ECDH1 = {
        type: pkcs11.CK_PARAMS_EC_DH,
        kdf: CKD_NULL,
        publicData: view(peerPoint),
      }
      const shared = this.#library.C_DeriveKey(
        this.#session,
        { mechanism: pkcs11.CKM_ECDH1_DERIVE, parameter },
        this.#require(pkcs11.CKO_PRIVATE_KEY, wrappingKeyLabel),
        // An object of this session only, which may be read: the private key itself stays sensitive.
        [
          { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
          { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_GENERIC_SECRET },
          { type: pkcs11.CKA_TOKEN, value: false },
          { type: pkcs11.CKA_SENSITIVE, value: false },
          { type: pkcs11.CKA_EXTRACTABLE, value: true },
          { type: pkcs11.CKA_VALUE_LEN, value: sharedSecretLength },
        ],
      )
      try {
        return Secret.take(this.#attribute(shared, pkcs11.CKA_VALUE, sharedSecretLength))
      } finally {
        this.#library.C_DestroyObject(this.#session, shared)
      }
    })
  }

  /** 64 bytes: Ed25519 with the witness key. */
  sign(message: Uint8Array): Uint8Array {
    return this.#guarded('signing', () => this.#sign(witnessKeyLabel, CKM_EDDSA, message))
  }

  /** The key by which its holder seals; made where it is missing and `make` says so. */
  sealKey(make: boolean): TokenSealKey | null {
    return this.#guarded('reading the sealing key', () => {
      if (make && this.#find(pkcs11.CKO_PRIVATE_KEY, sealKeyLabel) === null)
        if (this.#can(CKM_EDDSA))
          this.#generate(sealKeyLabel, CKM_EC_EDWARDS_KEY_PAIR_GEN, ed25519Parameters, pkcs11.CKA_SIGN)
        else this.#generate(sealKeyLabel, pkcs11.CKM_EC_KEY_PAIR_GEN, p256Parameters, pkcs11.CKA_SIGN)
      const key = this.#find(pkcs11.CKO_PUBLIC_KEY, sealKeyLabel)
      if (key === null) return null
      if (this.#isEdwards(key)) return { type: 'ed25519', bytes: this.#point(key, ed25519PublicKeyLength) }
      return { type: 'ecdsa-p256', bytes: this.#point(key, pointLength) }
    })
  }

  /** 64 bytes with that key: Ed25519, or ECDSA P-256 over SHA-256 as `r || s`. */
  seal(message: Uint8Array): Uint8Array {
    return this.#guarded('sealing', () =>
      this.#isEdwards(this.#require(pkcs11.CKO_PRIVATE_KEY, sealKeyLabel))
        ? this.#sign(sealKeyLabel, CKM_EDDSA, message)
        : this.#sign(sealKeyLabel, pkcs11.CKM_ECDSA, sha256(message)),
    )
  }

  /**
   * A data object that only the PIN shows: what it keeps no old disk of this VM brings back. The value of one cannot be changed, so
   * the next is made beside it; of two that a crash has left the higher counts.
   */
  counter(change: CounterChange): number {
    return this.#guarded('the counter', () => {
      const found = this.#counters()
      const value = Math.max(...found.map(one => one.value))
      if (found.length === 0 && change !== 'make')
        throw new HsmError('HSM_COUNTER_MISSING', `the token has no data object '${counterLabel}'`)
      if (found.length > 0 && change !== 'increment') return value
      const next = found.length === 0 ? 0 : value + 1
      this.#library.C_CreateObject(this.#session, [
        { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_DATA },
        { type: pkcs11.CKA_TOKEN, value: true },
        { type: pkcs11.CKA_PRIVATE, value: true },
        { type: pkcs11.CKA_LABEL, value: counterLabel },
        { type: pkcs11.CKA_VALUE, value: counterValue(next) },
      ])
      for (const { object } of found) this.#library.C_DestroyObject(this.#session, object)
      return next
    })
  }

  describe(): TokenDescription {
    return this.#guarded('reading the token', () => {
      const { label, manufacturerID, model, serialNumber } = this.#library.C_GetTokenInfo(this.#slot)
      return {
        label: unpadded(label),
        manufacturer: unpadded(manufacturerID),
        model: unpadded(model),
        serial: unpadded(serialNumber),
        agrees: this.#can(pkcs11.CKM_ECDH1_DERIVE),
        signs: this.#can(CKM_EDDSA),
        mechanisms: this.#library.C_GetMechanismList(this.#slot).length,
        keysLeave: [wrappingKeyLabel, witnessKeyLabel, sealKeyLabel].some(one => this.#mayLeave(one)),
      }
    })
  }

  [Symbol.dispose](): void {
    try {
      this.#library.C_CloseSession(this.#session)
    } catch {
      // The token is gone, and its session with it.
    }
  }

  #counters(): readonly { readonly object: Buffer; readonly value: number }[] {
    return this.#findAll(pkcs11.CKO_DATA, counterLabel).map(object => ({
      object,
      value: Number(view(this.#attribute(object, pkcs11.CKA_VALUE, counterLength)).readBigUInt64BE()),
    }))
  }

  #sign(label: string, mechanism: number, message: Uint8Array): Uint8Array {
    const key = this.#require(pkcs11.CKO_PRIVATE_KEY, label)
    this.#library.C_SignInit(this.#session, { mechanism }, key)
    const room = Buffer.alloc(ed25519SignatureLength)
    return new Uint8Array(this.#library.C_Sign(this.#session, view(message), room))
  }

  #isEdwards(key: Buffer): boolean {
    const [type] = this.#library.C_GetAttributeValue(this.#session, key, [{ type: pkcs11.CKA_KEY_TYPE }])
    const { value } = type ?? {}
    return Buffer.isBuffer(value) && value[0] === CKK_EC_EDWARDS
  }

  #publicKeys(): TokenPublicKeys {
    const wrapping = this.#find(pkcs11.CKO_PUBLIC_KEY, wrappingKeyLabel)
    const witness = this.#find(pkcs11.CKO_PUBLIC_KEY, witnessKeyLabel)
    return {
      wrapping: wrapping && this.#point(wrapping, pointLength),
      witness: witness && this.#point(witness, ed25519PublicKeyLength),
    }
  }

  #generate(label: string, mechanism: number, parameters: Buffer, use: number): void {
    const common = [
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_LABEL, value: label },
    ]
    const keyType = mechanism === CKM_EC_EDWARDS_KEY_PAIR_GEN ? CKK_EC_EDWARDS : pkcs11.CKK_EC
    this.#library.C_GenerateKeyPair(
      this.#session,
      { mechanism },
      [
        ...common,
        { type: pkcs11.CKA_KEY_TYPE, value: keyType },
        { type: pkcs11.CKA_EC_PARAMS, value: parameters },
        { type: pkcs11.CKA_PRIVATE, value: false },
      ],
      [
        ...common,
        { type: pkcs11.CKA_KEY_TYPE, value: keyType },
        { type: pkcs11.CKA_PRIVATE, value: true },
        { type: pkcs11.CKA_SENSITIVE, value: true },
        { type: pkcs11.CKA_EXTRACTABLE, value: false },
        { type: use, value: true },
      ],
    )
  }

  #mayLeave(label: string): boolean {
    const key = this.#find(pkcs11.CKO_PRIVATE_KEY, label)
    if (key === null) return false
    const [sensitive, extractable] = this.#library.C_GetAttributeValue(this.#session, key, [
      { type: pkcs11.CKA_SENSITIVE },
      { type: pkcs11.CKA_EXTRACTABLE },
    ])
    return sensitive?.value?.[0] !== 1 || extractable?.value?.[0] !== 0
  }

  #can(mechanism: number): boolean {
    return this.#library.C_GetMechanismList(this.#slot).includes(mechanism)
  }

  #require(objectClass: number, label: string): Buffer {
    const key = this.#find(objectClass, label)
    if (key === null) throw new HsmError('HSM_KEY_MISSING', `the token has no private key '${label}'`)
    return key
  }

  #find(objectClass: number, label: string): Buffer | null {
    const [found, second] = this.#findAll(objectClass, label)
    if (second !== undefined) throw new HsmError('HSM_TOKEN_AMBIGUOUS', `the token has two keys '${label}'`)
    return found ?? null
  }

  /** Two at most. Looked up for each call: a handle would outlive a token that was taken away and put back. */
  #findAll(objectClass: number, label: string): readonly Buffer[] {
    this.#library.C_FindObjectsInit(this.#session, [
      { type: pkcs11.CKA_CLASS, value: objectClass },
      { type: pkcs11.CKA_LABEL, value: label },
    ])
    try {
      const found = this.#library.C_FindObjects(this.#session, 2)
      // A token that was taken away looks like one without keys; asking for itself it cannot hide. Throws then.
      if (found.length === 0) this.#library.C_GetTokenInfo(this.#slot)
      return found
    } finally {
      this.#library.C_FindObjectsFinal(this.#session)
    }
  }

  /** CKA_EC_POINT is a DER octet string of short length around the point. */
  #point(key: Buffer, length: number): Uint8Array {
    const der = this.#attribute(key, pkcs11.CKA_EC_POINT, length + 2)
    if (der[0] !== 0x04 || der[1] !== length)
      throw new HsmError('HSM_TOKEN_FAILED', 'the public key in the token has an unknown form')
    return der.slice(2)
  }

  #attribute(object: Buffer, type: number, length: number): Uint8Array {
    const [attribute] = this.#library.C_GetAttributeValue(this.#session, object, [{ type }])
    const { value } = attribute ?? {}
    if (!Buffer.isBuffer(value) || value.byteLength !== length)
      throw new HsmError('HSM_TOKEN_FAILED', `an attribute of an object in the token is not ${length} bytes`)
    return value
  }

  /** Whatever went wrong, a token that is no longer there is the reason. */
  #guarded<T>(what: string, work: () => T): T {
    try {
      return work()
    } catch (error) {
      if (!this.#isPresent())
        throw new HsmError('HSM_TOKEN_REMOVED', `${what}: the token is no longer there`, { retry: true })
      throw tokenError(what, error)
    }
  }

  #isPresent(): boolean {
    try {
      return this.#library.C_GetTokenInfo(this.#slot).label.length > 0
    } catch {
      return false
    }
  }
}

function counterValue(value: number): Buffer {
  const bytes = Buffer.alloc(counterLength)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}

function loadModule(modulePath: string): pkcs11.PKCS11 {
  const library = new pkcs11.PKCS11()
  try {
    library.load(modulePath)
  } catch {
    throw new HsmError('HSM_MODULE_MISSING', `${printable(modulePath)} could not be loaded`)
  }
  try {
    library.C_Initialize({ flags: pkcs11.CKF_OS_LOCKING_OK })
  } catch (error) {
    if (returnValueOf(error) !== alreadyInitialised) throw tokenError('initialising the module', error)
  }
  return library
}

function findToken(library: pkcs11.PKCS11, label: string): Buffer {
  const [found, second] = tokensWithLabel(library, label)
  if (found === undefined) throw new HsmError('HSM_TOKEN_MISSING', `there is no token '${printable(label)}'`)
  if (second !== undefined)
    throw new HsmError('HSM_TOKEN_AMBIGUOUS', `there are two tokens '${printable(label)}'`)
  return found
}

function tokensWithLabel(library: pkcs11.PKCS11, label: string): readonly Buffer[] {
  return slots(library).filter(slot => unpadded(library.C_GetTokenInfo(slot).label) === label)
}

function slots(library: pkcs11.PKCS11): readonly Buffer[] {
  return library.C_GetSlotList(true).slice(0, slotsMax)
}

function requirePinTries(flags: number): void {
  if ((flags & userPinLocked) !== 0)
    throw new HsmError('HSM_PIN_LOCKED', 'the token says that its PIN is locked')
  if ((flags & userPinFinalTry) !== 0)
    throw new HsmError('HSM_PIN_LAST_TRY', 'the token says that one try of its PIN is left')
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
