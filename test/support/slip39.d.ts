/** The part of the npm package `slip39`, another implementation, that the tests use; it has no types of its own. */
declare module 'slip39' {
  export default class Slip39 {
    static recoverSecret(mnemonics: readonly string[], passphrase: string): number[]
    static fromArray(
      secret: readonly number[],
      options: {
        readonly threshold?: number
        readonly groups: readonly (readonly [threshold: number, count: number])[]
        readonly extendableBackupFlag: number
      },
    ): Slip39
    fromPath(path: string): { readonly mnemonics: readonly string[] }
  }
}
