import pkcs11 from 'pkcs11js'
import { HsmError } from './errors.ts'

/** One session of a token that has logged in: finding objects, their attributes, making and using keys. Throws what PKCS#11 throws. */
export class TokenSession {
  readonly #library: pkcs11.PKCS11
  readonly #slot: Buffer
  readonly #handle: Buffer

  constructor(library: pkcs11.PKCS11, slot: Buffer, handle: Buffer) {
    this.#library = library
    this.#slot = slot
    this.#handle = handle
  }

  can(...mechanisms: readonly number[]): boolean {
    const list = this.#library.C_GetMechanismList(this.#slot)
    return mechanisms.every(one => list.includes(one))
  }

  /** The largest key of a mechanism, in the mechanism's own unit: bits for RSA. */
  keySizeMax(mechanism: number): number {
    return this.#library.C_GetMechanismInfo(this.#slot, mechanism).maxKeySize
  }

  /** Throws `HSM_KEY_MISSING` or `HSM_TOKEN_AMBIGUOUS`. */
  requirePrivateKey(label: string): Buffer {
    const key = this.find(pkcs11.CKO_PRIVATE_KEY, label)
    if (key === null) throw new HsmError('HSM_KEY_MISSING', `the token has no private key '${label}'`)
    return key
  }

  /** Throws `HSM_TOKEN_AMBIGUOUS`. */
  find(objectClass: number, label: string): Buffer | null {
    const [found, second] = this.findAll(objectClass, label)
    if (second !== undefined) throw new HsmError('HSM_TOKEN_AMBIGUOUS', `the token has two keys '${label}'`)
    return found ?? null
  }

  /** Two at most. Looked up for each call: a handle would outlive a token that was taken away and put back. */
  findAll(objectClass: number, label: string): readonly Buffer[] {
    this.#library.C_FindObjectsInit(this.#handle, [
      { type: pkcs11.CKA_CLASS, value: objectClass },
      { type: pkcs11.CKA_LABEL, value: label },
    ])
    try {
      const found = this.#library.C_FindObjects(this.#handle, 2)
      // A token that was taken away looks like one without keys; asking for itself it cannot hide. Throws then.
      if (found.length === 0) this.#library.C_GetTokenInfo(this.#slot)
      return found
    } finally {
      this.#library.C_FindObjectsFinal(this.#handle)
    }
  }

  /** Throws `HSM_TOKEN_FAILED` when it has none. */
  attribute(object: Buffer, type: number): Uint8Array {
    const [attribute] = this.#library.C_GetAttributeValue(this.#handle, object, [{ type }])
    const { value } = attribute ?? {}
    if (!Buffer.isBuffer(value))
      throw new HsmError('HSM_TOKEN_FAILED', 'an object in the token lacks an attribute')
    return value
  }

  create(template: pkcs11.Template): void {
    this.#library.C_CreateObject(this.#handle, template)
  }

  destroy(object: Buffer): void {
    this.#library.C_DestroyObject(this.#handle, object)
  }

  /** A pair of that label for one use: made in the token, sensitive, and never to leave it. */
  async generate(
    label: string,
    mechanism: number,
    { publicKey, privateKey }: { readonly publicKey: pkcs11.Template; readonly privateKey: pkcs11.Template },
  ): Promise<pkcs11.KeyPair> {
    const common = [
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_LABEL, value: label },
    ]
    return await this.#library.C_GenerateKeyPairAsync(
      this.#handle,
      { mechanism },
      [...common, { type: pkcs11.CKA_PRIVATE, value: false }, ...publicKey],
      [
        ...common,
        { type: pkcs11.CKA_PRIVATE, value: true },
        { type: pkcs11.CKA_SENSITIVE, value: true },
        { type: pkcs11.CKA_EXTRACTABLE, value: false },
        ...privateKey,
      ],
    )
  }

  /** A key of this session only, for a trial. */
  generateSecret(mechanism: number, template: pkcs11.Template): Buffer {
    return this.#library.C_GenerateKey(this.#handle, { mechanism }, template)
  }

  async sign(key: Buffer, mechanism: number, message: Buffer, length: number): Promise<Uint8Array> {
    this.#library.C_SignInit(this.#handle, { mechanism }, key)
    return new Uint8Array(await this.#library.C_SignAsync(this.#handle, message, Buffer.alloc(length)))
  }

  /** The caller overwrites what it is given. */
  async decrypt(key: Buffer, mechanism: pkcs11.Mechanism, ciphertext: Buffer): Promise<Uint8Array> {
    this.#library.C_DecryptInit(this.#handle, mechanism, key)
    const room = Buffer.alloc(ciphertext.byteLength)
    return await this.#library.C_DecryptAsync(this.#handle, ciphertext, room)
  }

  async derive(key: Buffer, mechanism: pkcs11.Mechanism, template: pkcs11.Template): Promise<Buffer> {
    return await this.#library.C_DeriveKeyAsync(this.#handle, mechanism, key, template)
  }

  /** `key` as bytes under another, where the module gives it out. */
  wrap(wrapping: Buffer, key: Buffer, mechanism: pkcs11.Mechanism, room: Buffer): Buffer {
    return this.#library.C_WrapKey(this.#handle, mechanism, wrapping, key, room)
  }
}
