/** What the machine runs on, as far as it says. */
export type Power = 'mains' | 'battery'

export interface PowerSource {
  /** Never throws: a machine that does not say runs on mains. */
  now(): Promise<Power>
}
